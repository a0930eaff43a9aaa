//! Calls on domains.

use serde_json::json;

use super::{Call, Client, orders::is_not_found_yet};
use crate::{
    error::{Error, Result},
    types::{
        AddedDomain, DcvMethod, DcvStart, Domain, DomainId, DomainToken, DomainValidation, NewDomain, Page, TokenCheck,
        ValidationEmails,
    },
};

impl Client {
    /// A domain with its random value (API page "Domain info", `include_dcv=true`).
    ///
    /// # Errors
    /// [`Error::is_not_found`].
    pub async fn domain(&self, id: DomainId) -> Result<Domain> {
        self.json(Call::get(format!("/domain/{id}")).query("include_dcv", true)).await
    }

    /// A domain with its random value and its [validations](Domain::validations).
    ///
    /// # Errors
    /// [`Error::is_not_found`].
    pub async fn domain_with_validation(&self, id: DomainId) -> Result<Domain> {
        let call = Call::get(format!("/domain/{id}")).query("include_dcv", true).query("include_validation", true);
        self.json(call).await
    }

    /// A page of the account's domains whose name is or contains `search`, with the ends of their validations.
    ///
    /// # Errors
    /// As any read.
    pub async fn domains(&self, search: Option<&str>, limit: u32, offset: u32) -> Result<Page<Domain>> {
        let call = domains(search).query("limit", limit).query("offset", offset);
        self.list(call, "domains").await
    }

    /// A new random value for a domain. The domain's earlier one ends; order values stay.
    ///
    /// # Errors
    /// 400 `invalid_dcv_method` when the domain's method has none.
    pub async fn new_domain_token(&self, id: DomainId) -> Result<DomainToken> {
        self.json(Call::post(format!("/domain/{id}/dcv/token")).harmless()).await
    }

    /// Asks CertCentral to look for the proof of a domain now. A proof that was not found is not an error.
    ///
    /// # Errors
    /// 404, and whatever is not about a proof that was not found.
    pub async fn check_domain_token(&self, id: DomainId) -> Result<TokenCheck> {
        match self.json_or_default(Call::put(format!("/domain/{id}/dcv/validate-token"))).await {
            Err(Error::Api { status: 400, errors, .. }) if errors.iter().any(|e| is_not_found_yet(e.code.class())) => {
                Ok(TokenCheck { errors, ..TokenCheck::default() })
            }
            other => other,
        }
    }

    /// All domains of the account whose name is or contains `search`.
    ///
    /// # Errors
    /// As any read.
    pub async fn all_domains(&self, search: Option<&str>) -> Result<Vec<Domain>> {
        self.all(domains(search).query("limit", 1000), "domains", |domain: &Domain| domain.id).await
    }

    /// The domain of exactly this name, if the account has it.
    ///
    /// # Errors
    /// As any read.
    pub async fn domain_by_name(&self, name: &str) -> Result<Option<Domain>> {
        let all = self.all_domains(Some(name)).await?;
        Ok(all.into_iter().find(|domain| domain.name.as_deref().is_some_and(|known| known.eq_ignore_ascii_case(name))))
    }

    /// Adds a domain to the account and begins its validation (API page "Add domain"). Adding one that is there already is refused:
    /// look with [`domain_by_name`](Self::domain_by_name) first.
    ///
    /// # Errors
    /// 400 with a code for whatever is wrong with it.
    pub async fn add_domain(&self, domain: &NewDomain) -> Result<AddedDomain> {
        self.json(Call::post("/domain").body(domain)).await
    }

    /// Has a domain validated, or validated again, for these types: `ov`, `ev` (API page "Submit for validation").
    ///
    /// # Errors
    /// 400 with a code for whatever is wrong with it.
    pub async fn submit_domain(&self, id: DomainId, types: &[&str], method: &DcvMethod) -> Result<()> {
        let types: Vec<_> = types.iter().map(|one| json!({ "type": one })).collect();
        let body = json!({ "validations": types, "dcv_method": method });
        self.nothing(Call::post(format!("/domain/{id}/validation")).body(body).harmless()).await
    }

    /// A domain's validations (API page "Validation details").
    ///
    /// # Errors
    /// [`Error::is_not_found`].
    pub async fn domain_validations(&self, id: DomainId) -> Result<Vec<DomainValidation>> {
        self.list(Call::get(format!("/domain/{id}/validation")), "validations").await.map(|page| page.items)
    }

    /// Changes how a domain is proved (API page "Change DCV method"). The answer holds the new method's value, or who was
    /// written to. A change to `email` writes to people unless `mail` is false.
    ///
    /// # Errors
    /// 400 when the method is not for this domain.
    pub async fn change_domain_dcv_method(&self, id: DomainId, method: &DcvMethod, mail: bool) -> Result<DcvStart> {
        let body = json!({ "dcv_method": method, "send_dcv_email_flag": mail });
        self.json_or_default(Call::put(format!("/domain/{id}/dcv/method")).body(body)).await
    }

    /// Sends a domain's mails again (API page "Resend DCV email"), to these addresses or else to all that the CA knows.
    ///
    /// # Errors
    /// 400 when the domain's method is not `email`.
    pub async fn resend_domain_emails(&self, id: DomainId, addresses: &[String]) -> Result<()> {
        let mut call = Call::put(format!("/domain/{id}/dcv/emails"));
        if !addresses.is_empty() {
            call = call.body(json!({ "email_array": addresses }));
        }
        self.nothing(call).await
    }

    /// The addresses a domain's mails may go to (endpoint "Domain emails").
    ///
    /// # Errors
    /// [`Error::is_not_found`].
    pub async fn domain_emails(&self, id: DomainId) -> Result<ValidationEmails> {
        self.json_or_default(Call::get(format!("/domain/{id}/dcv/emails"))).await
    }

    /// Lets a domain be used in orders, or no longer.
    ///
    /// # Errors
    /// [`Error::is_not_found`].
    pub async fn set_domain_active(&self, id: DomainId, active: bool) -> Result<()> {
        let verb = if active { "activate" } else { "deactivate" };
        self.nothing(Call::put(format!("/domain/{id}/{verb}"))).await
    }
}

fn domains<'a>(search: Option<&str>) -> Call<'a> {
    let call = Call::get("/domain").query("include_dcv_expiration_time", true).query("include_validation", true);
    match search {
        Some(search) => call.query("filters[search]", format!("%{search}")),
        None => call,
    }
}
