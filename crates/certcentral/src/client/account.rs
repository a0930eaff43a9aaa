//! Calls on the account: user, products, organizations, requests for approval.

use serde_json::json;

use super::{Call, Client};
use crate::{
    error::Result,
    types::{
        NewOrganization, NewOrganizationValidation, Organization, OrganizationId, OrganizationValidation, Product,
        Request, RequestId, RequestStatus, User,
    },
};

impl Client {
    /// The key's user: the cheapest way to find out whether the key works.
    ///
    /// # Errors
    /// [`Error::is_auth`](crate::Error::is_auth) when it does not.
    pub async fn me(&self) -> Result<User> {
        self.json(Call::get("/user/me")).await
    }

    /// The products that can be ordered (API page "Product list").
    ///
    /// # Errors
    /// As any read.
    pub async fn products(&self) -> Result<Vec<Product>> {
        self.list(Call::get("/product"), "products").await.map(|page| page.items)
    }

    /// A product with what may be chosen for it (API page "Product info").
    ///
    /// # Errors
    /// [`Error::is_not_found`](crate::Error::is_not_found) when the account has none of this identifier.
    pub async fn product(&self, name_id: &str) -> Result<Product> {
        self.json(Call::get(format!("/product/{name_id}"))).await
    }

    /// A product as one division of the account may order it.
    ///
    /// # Errors
    /// [`Error::is_not_found`](crate::Error::is_not_found) when it may not.
    pub async fn product_in(&self, name_id: &str, container: u64) -> Result<Product> {
        self.json(Call::get(format!("/product/{name_id}")).query("container_id", container)).await
    }

    /// All organizations of the account, e.g. to find one by its name (API page "List organizations").
    ///
    /// # Errors
    /// As any read.
    pub async fn organizations(&self) -> Result<Vec<Organization>> {
        self.all(Call::get("/organization"), "organizations", |organization: &Organization| organization.id).await
    }

    /// An organization.
    ///
    /// # Errors
    /// [`Error::is_not_found`](crate::Error::is_not_found) when there is none of this number.
    pub async fn organization(&self, id: OrganizationId) -> Result<Organization> {
        self.json(Call::get(format!("/organization/{id}"))).await
    }

    /// Adds an organization to the account (API page "Create organization"), or finds the one with these details.
    ///
    /// # Errors
    /// 400 with a code for whatever is wrong with it.
    pub async fn create_organization(&self, organization: &NewOrganization) -> Result<OrganizationId> {
        #[derive(serde::Deserialize)]
        struct Created {
            id: OrganizationId,
        }
        let created: Created = self.json(Call::post("/organization").body(organization)).await?;
        Ok(created.id)
    }

    /// Has an organization validated (API page "Submit for validation"); `ev` needs people who speak for it.
    ///
    /// # Errors
    /// 400 with a code for whatever is missing.
    pub async fn submit_organization(
        &self,
        id: OrganizationId,
        validations: &[NewOrganizationValidation],
    ) -> Result<()> {
        let body = json!({ "validations": validations });
        self.nothing(Call::post(format!("/organization/{id}/validation")).body(body).harmless()).await
    }

    /// Lets an organization be used in orders, or no longer.
    ///
    /// # Errors
    /// [`Error::is_not_found`](crate::Error::is_not_found).
    pub async fn set_organization_active(&self, id: OrganizationId, active: bool) -> Result<()> {
        let verb = if active { "activate" } else { "deactivate" };
        self.nothing(Call::put(format!("/organization/{id}/{verb}"))).await
    }

    /// What an organization is validated for, and until when (API page "Organization validation details").
    ///
    /// # Errors
    /// [`Error::is_not_found`](crate::Error::is_not_found).
    pub async fn organization_validation(&self, id: OrganizationId) -> Result<Vec<OrganizationValidation>> {
        let call = Call::get(format!("/organization/{id}/validation"));
        self.list(call, "validations").await.map(|page| page.items)
    }

    /// All requests, or those of this status (API page "List requests").
    ///
    /// # Errors
    /// As any read.
    pub async fn requests(&self, status: Option<&RequestStatus>) -> Result<Vec<Request>> {
        let mut call = Call::get("/request");
        if let Some(status) = status {
            call = call.query("filters[status]", status);
        }
        self.all(call, "requests", |request: &Request| request.id).await
    }

    /// A request (API page "Request info").
    ///
    /// # Errors
    /// [`Error::is_not_found`](crate::Error::is_not_found).
    pub async fn request(&self, id: RequestId) -> Result<Request> {
        self.json(Call::get(format!("/request/{id}"))).await
    }

    /// Approves or rejects a request (API page "Update request status").
    ///
    /// # Errors
    /// 403 when the key's user may not.
    pub async fn set_request_status(&self, id: RequestId, status: &RequestStatus, comment: &str) -> Result<()> {
        let body = json!({ "status": status, "processor_comment": comment });
        self.nothing(Call::put(format!("/request/{id}/status")).body(body)).await
    }
}
