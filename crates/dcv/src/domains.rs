//! `dcv domain`: the account's domains, and their validation ahead of any order.

use certcentral::{Client, Domain, DomainId};
use dcv_core::Request;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::{
    args::account::{DomainCommand, DomainValidate},
    config::Config,
    exit::{Code, Failure, Result},
    request::{Prepared, organization_number, read_names},
    run::carry_out,
    show::Screen,
};

pub(crate) async fn domains(config: &Config, screen: Screen, command: &DomainCommand) -> Result<Code> {
    if let DomainCommand::Validate(args) = command {
        return validate(config, screen, args).await;
    }
    let client = config.client().await?;
    match command {
        DomainCommand::List { search, csv } => list(&client, screen, search.as_deref(), *csv).await,
        DomainCommand::Show { domain } => show(&client, screen, domain).await,
        DomainCommand::ResendMails { domain, emails } => {
            let id = find(&client, domain).await?;
            client.resend_domain_emails(id, emails).await?;
            screen.result("the mails are on their way", json!({ "result": "sent", "domain_id": id }));
            Ok(Code::Done)
        }
        DomainCommand::Activate { domain } => set_active(&client, screen, domain, true).await,
        DomainCommand::Deactivate { domain } => set_active(&client, screen, domain, false).await,
        DomainCommand::Validate(_) => Ok(Code::Unexpected),
    }
}

async fn validate(config: &Config, screen: Screen, args: &DomainValidate) -> Result<Code> {
    let organization = match args.organization.as_ref().or(config.defaults.organization.as_ref()) {
        Some(text) => Some(organization_number(config, text).await?),
        None => None,
    };
    let types: Vec<&str> = args.types.iter().map(String::as_str).collect();
    let until = Timestamp::now() + SignedDuration::from_hours(24 * i64::from(args.unless_days));
    let mut request = Request::domains(read_names(&args.names)?, organization, &types, until)?
        .method(args.method.unwrap_or(config.defaults.method));
    request.placement = config.defaults.placement();
    carry_out(config, screen, Prepared::without_certificate(request), &args.way).await
}

/// A domain by its name or its number.
async fn find(client: &Client, text: &str) -> Result<DomainId> {
    if let Ok(id) = text.parse() {
        return Ok(DomainId(id));
    }
    let name = read_names(&[text.to_owned()])?.remove(0);
    let found = client.domain_by_name(name.base()).await?.map(|domain| domain.id);
    found.ok_or_else(|| {
        let message = format!("the account has no domain `{}`; `dcv domain list` shows them", name.base());
        Failure::usage("domain", message)
    })
}

fn until(domain: &Domain, validation_type: &str) -> String {
    match domain.validated_until(validation_type) {
        Some(end) if end < Timestamp::now() => "ended".to_owned(),
        Some(end) => end.strftime("%Y-%m-%d").to_string(),
        None => "-".to_owned(),
    }
}

async fn list(client: &Client, screen: Screen, search: Option<&str>, csv: bool) -> Result<Code> {
    let domains = client.all_domains(search).await?;
    let rows: Vec<Vec<String>> = domains
        .iter()
        .map(|domain| {
            vec![
                domain.id.to_string(),
                domain.name.clone().unwrap_or_default(),
                until(domain, "ov"),
                until(domain, "ev"),
                domain.dcv_method.as_ref().map(ToString::to_string).unwrap_or_default(),
                if domain.is_active == Some(false) { "no" } else { "yes" }.to_owned(),
            ]
        })
        .collect();
    let head = ["DOMAIN", "NAME", "OV UNTIL", "EV UNTIL", "METHOD", "ACTIVE"];
    if csv {
        Screen::csv(&head, &rows);
    } else {
        screen.table(&head, &rows, "no domains", json!({ "domains": domains }));
    }
    Ok(Code::Done)
}

async fn show(client: &Client, screen: Screen, domain: &str) -> Result<Code> {
    let id = find(client, domain).await?;
    let domain = client.domain_with_validation(id).await?;
    let validations = if domain.validations.is_empty() {
        client.domain_validations(id).await.unwrap_or_default()
    } else {
        domain.validations.clone()
    };
    let token = domain.dcv_token.as_ref();
    let mut facts = vec![
        ("domain", id.to_string()),
        ("name", domain.name.clone().unwrap_or_default()),
        ("active", if domain.is_active == Some(false) { "no" } else { "yes" }.to_owned()),
        ("method", domain.dcv_method.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("random value", token.map(|token| token.token.clone()).unwrap_or_default()),
        (
            "value until",
            token.and_then(|token| token.expiration_date.as_ref()).map(ToString::to_string).unwrap_or_default(),
        ),
        ("organization", domain.organization.as_ref().and_then(|one| one.name.clone()).unwrap_or_default()),
    ];
    for one in &validations {
        let until = one.validated_until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
        let control = one.dcv_status.as_ref().map(|status| format!(", control {status}")).unwrap_or_default();
        facts.push(("validation", format!("{} is {}{control}{until}", one.validation_type, one.status)));
    }
    screen.facts(&facts, json!({ "domain": domain, "validations": validations }));
    Ok(Code::Done)
}

async fn set_active(client: &Client, screen: Screen, domain: &str, active: bool) -> Result<Code> {
    let id = find(client, domain).await?;
    client.set_domain_active(id, active).await?;
    let text = if active { "may be used in orders" } else { "is used in orders no longer" };
    screen.result(format!("{domain} {text}"), json!({ "result": "changed", "domain_id": id, "active": active }));
    Ok(Code::Done)
}
