//! `dcv organization`, `request` and `product`: the account, and what waits for its approvers.

use std::path::Path;

use certcentral::{Contact, NewOrganization, NewOrganizationValidation, RequestId, RequestStatus, VerifiedUser};
use serde::Deserialize;
use serde_json::json;

use crate::{
    args::account::{Decide, OrganizationCommand, ProductCommand, RequestCommand},
    config::Config,
    exit::{Code, Failure, Result},
    request::{organization_number, read_toml},
    show::Screen,
};

pub(crate) async fn organizations(config: &Config, screen: Screen, command: &OrganizationCommand) -> Result<Code> {
    let client = config.client().await?;
    match command {
        OrganizationCommand::List => {
            let all = client.organizations().await?;
            let rows: Vec<Vec<String>> = all
                .iter()
                .map(|one| {
                    let place =
                        [&one.city, &one.state, &one.country].into_iter().flatten().cloned().collect::<Vec<_>>();
                    vec![
                        one.id.to_string(),
                        one.display_name.clone().or_else(|| one.name.clone()).unwrap_or_default(),
                        place.join(", "),
                        if one.is_active == Some(false) { "no" } else { "yes" }.to_owned(),
                    ]
                })
                .collect();
            let head = ["ORGANIZATION", "NAME", "PLACE", "ACTIVE"];
            screen.table(&head, &rows, "no organizations", json!({ "organizations": all }));
        }
        OrganizationCommand::Show { organization } => {
            let id = organization_number(config, organization).await?;
            let one = client.organization(id).await?;
            let validations = client.organization_validation(id).await?;
            let mut facts = vec![
                ("organization", id.to_string()),
                ("name", one.display_name.clone().or_else(|| one.name.clone()).unwrap_or_default()),
                ("address", one.address.clone().unwrap_or_default()),
                ("city", [&one.zip, &one.city].into_iter().flatten().cloned().collect::<Vec<_>>().join(" ")),
                ("state", one.state.clone().unwrap_or_default()),
                ("country", one.country.clone().unwrap_or_default().to_uppercase()),
                ("active", if one.is_active == Some(false) { "no" } else { "yes" }.to_owned()),
            ];
            for one in &validations {
                let until = one.validated_until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
                facts.push(("validation", format!("{} is {}{until}", one.validation_type, one.status)));
            }
            screen.facts(&facts, json!({ "organization": one, "validations": validations }));
        }
        OrganizationCommand::Add { file } => {
            let organization: NewOrganization = read_toml(file, "FILE")?;
            check_organization(&organization, file)?;
            let id = client.create_organization(&organization).await?;
            screen.result(
                format!("organization {id} is {}; `dcv organization validate {id}` is next", organization.name),
                json!({ "result": "added", "organization_id": id }),
            );
        }
        OrganizationCommand::Validate { organization, types, contacts } => {
            let id = organization_number(config, organization).await?;
            let people = match contacts {
                Some(file) => read_toml::<Contacts>(file, "--contacts")?.contact,
                None => config.contacts.clone(),
            };
            let people: Vec<VerifiedUser> = people.into_iter().map(VerifiedUser::from).collect();
            let for_type = |one: &String| NewOrganizationValidation {
                validation_type: one.clone(),
                verified_users: if one.contains("ev") || one == "cs" { people.clone() } else { Vec::new() },
            };
            let validations: Vec<_> = types.iter().map(for_type).collect();
            if let Some(one) =
                validations.iter().find(|one| one.validation_type == "ev" && one.verified_users.is_empty())
            {
                let message = "nobody is named who speaks for the organization; give --contacts FILE or [[contact]]";
                return Err(Failure::usage(&format!("--type {}", one.validation_type), message));
            }
            client.submit_organization(id, &validations).await?;
            screen.result(
                format!("organization {id} is with DigiCert's validation for {}", types.join(", ")),
                json!({ "result": "submitted", "organization_id": id, "types": types }),
            );
        }
    }
    Ok(Code::Done)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contacts {
    contact: Vec<Contact>,
}

/// What the API would refuse, with the field's name (API page "Create organization").
fn check_organization(organization: &NewOrganization, file: &Path) -> Result<()> {
    let fields = [
        ("name", &organization.name, 64),
        ("address", &organization.address, 64),
        ("zip", &organization.zip, 40),
        ("city", &organization.city, 64),
        ("state", &organization.state, 64),
        ("country", &organization.country, 2),
    ];
    for (field, value, most) in fields {
        let length = value.chars().count();
        if length == 0 || length > most {
            let message = format!("{field} has {length} characters; 1 to {most} are taken");
            return Err(Failure::usage(&file.display().to_string(), message));
        }
    }
    Ok(())
}

pub(crate) async fn requests(config: &Config, screen: Screen, command: &RequestCommand) -> Result<Code> {
    let client = config.client().await?;
    match command {
        RequestCommand::List { status } => {
            let status = match RequestStatus::from(status.as_str()) {
                _ if status == "all" => None,
                RequestStatus::Other(other) => {
                    let message = format!("`{other}` is no status; use submitted, pending, approved, rejected or all");
                    return Err(Failure::usage("--status", message));
                }
                known => Some(known),
            };
            let all = client.requests(status.as_ref()).await?;
            let rows: Vec<Vec<String>> = all
                .iter()
                .map(|request| {
                    let order = request.order.as_ref();
                    let name = order.and_then(|order| order.certificate.as_ref()?.common_name.clone());
                    vec![
                        request.id.to_string(),
                        request.status.to_string(),
                        request.request_type.clone().unwrap_or_default(),
                        order.map(|order| order.id.to_string()).unwrap_or_default(),
                        name.unwrap_or_default(),
                        request.date.as_ref().map(ToString::to_string).unwrap_or_default(),
                    ]
                })
                .collect();
            let head = ["REQUEST", "STATUS", "TYPE", "ORDER", "NAME", "MADE"];
            screen.table(&head, &rows, "no requests", json!({ "requests": all }));
        }
        RequestCommand::Show { request } => {
            let request = client.request(RequestId(*request)).await?;
            // The copy of the order in a request may be old.
            let order = match request.order.as_ref() {
                Some(order) => client.order(order.id).await.ok(),
                None => None,
            };
            let facts = [
                ("request", request.id.to_string()),
                ("status", request.status.to_string()),
                ("type", request.request_type.clone().unwrap_or_default()),
                ("made", request.date.as_ref().map(ToString::to_string).unwrap_or_default()),
                ("comments", request.comments.clone().unwrap_or_default()),
                ("answer", request.processor_comment.clone().unwrap_or_default()),
                ("order", order.as_ref().map(|order| format!("{} ({})", order.id, order.status)).unwrap_or_default()),
                ("name", order.as_ref().and_then(|o| o.certificate.as_ref()?.common_name.clone()).unwrap_or_default()),
            ];
            screen.facts(&facts, json!({ "request": request, "order": order }));
        }
        RequestCommand::Approve(args) => return decide(config, screen, args, RequestStatus::Approved).await,
        RequestCommand::Reject(args) => return decide(config, screen, args, RequestStatus::Rejected).await,
    }
    Ok(Code::Done)
}

async fn decide(config: &Config, screen: Screen, args: &Decide, status: RequestStatus) -> Result<Code> {
    let client = config.client().await?;
    client.set_request_status(RequestId(args.request), &status, &args.comment).await?;
    screen.result(
        format!("request {} is {status}", args.request),
        json!({ "result": status, "request_id": args.request }),
    );
    Ok(Code::Done)
}

pub(crate) async fn products(config: &Config, screen: Screen, command: &ProductCommand) -> Result<Code> {
    let client = config.client().await?;
    match command {
        ProductCommand::List => {
            let all = client.products().await?;
            let rows: Vec<Vec<String>> = all
                .iter()
                .map(|product| {
                    vec![
                        product.name_id.clone(),
                        product.name.clone().unwrap_or_default(),
                        product.validation_type.clone().unwrap_or_default(),
                        product.allowed_order_validity_years.join(", "),
                    ]
                })
                .collect();
            screen.table(&["PRODUCT", "NAME", "VALIDATION", "YEARS"], &rows, "no products", json!({ "products": all }));
        }
        ProductCommand::Show { product } => {
            let product = client.product(product).await.map_err(|error| {
                if error.is_not_found() {
                    let message = format!("the account has no `{product}` ({error}); `dcv product list` shows them");
                    return Failure::usage("product", message);
                }
                error.into()
            })?;
            let mut facts = vec![
                ("product", product.name_id.clone()),
                ("name", product.name.clone().unwrap_or_default()),
                ("validation", product.validation_type.clone().unwrap_or_default()),
                ("order years", product.allowed_order_validity_years.join(", ")),
                ("plan years", product.max_multi_year_order_validity_years.map(|n| n.to_string()).unwrap_or_default()),
                (
                    "hashes",
                    product
                        .signature_hash_types
                        .iter()
                        .flat_map(|types| &types.allowed_hash_types)
                        .map(|h| h.id.as_str())
                        .collect::<Vec<_>>()
                        .join(", "),
                ),
                (
                    "duplicates",
                    product.duplicates_allowed.map(|yes| if yes { "yes" } else { "no" }.to_owned()).unwrap_or_default(),
                ),
            ];
            for ca in &product.allowed_ca_certs {
                facts.push(("issuing CA", format!("{} {}", ca.id, ca.name.as_deref().unwrap_or_default())));
            }
            screen.facts(&facts, json!({ "product": product }));
        }
    }
    Ok(Code::Done)
}
