//! `dcv order`, `revoke` and `download`: what there is at the CA, whoever ordered it.

use std::{io::Write, path::Path, time::Duration};

use certcentral::{
    CertificateId, Client, DomainEmail, DownloadFormat, IssuedCopy, Moment, Order, OrderId, OrderStatus, Revocation,
};
use dcv_core::{Dcv, certificate::Chain};
use serde_json::json;

use crate::{
    args::account::{Download, Format, OrderCommand, OrderList, Revoke},
    config::Config,
    exit::{Code, Failure, Result},
    show::Screen,
};

/// How often a certificate is fetched that is not the order's: CertCentral has been seen to mix them up under load.
const FETCHES: u32 = 4;

pub(crate) async fn orders(config: &Config, screen: Screen, command: &OrderCommand) -> Result<Code> {
    let client = config.client().await?;
    match command {
        OrderCommand::List(args) => list(&client, screen, args).await,
        OrderCommand::Show { order } => show(config, &client, screen, order).await,
        OrderCommand::Cancel { order, reason } => {
            client.cancel_order(OrderId(*order), reason).await?;
            screen.result(format!("order {order} is canceled"), json!({ "result": "canceled", "order_id": order }));
            Ok(Code::Done)
        }
        OrderCommand::ResendMails { order, emails } => {
            let mail = |(domain, email): &(String, String)| DomainEmail {
                domain: domain.clone(),
                email: email.clone(),
                email_domain: email.split_once('@').map(|(_, domain)| domain.to_owned()),
            };
            let mails: Vec<DomainEmail> = emails.iter().map(mail).collect();
            client.resend_order_emails(OrderId(*order), &mails, None).await?;
            screen.result(format!("mails on their way: {}", mails.len()), json!({ "result": "sent", "mails": mails }));
            Ok(Code::Done)
        }
        OrderCommand::Method { order, method } => {
            let value = client.change_order_dcv_method(OrderId(*order), &(*method).into()).await?;
            screen.result(
                format!("order {order} is proved by {method} now"),
                json!({ "result": "changed", "order_id": order, "method": method, "random_value": value }),
            );
            Ok(Code::Done)
        }
    }
}

/// An order by its number, or by the serial number or thumbprint of its certificate.
pub(crate) async fn find(client: &Client, text: &str) -> Result<Order> {
    let plain: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    let found = match plain.parse() {
        // Serial numbers have 32 digits and more, also those without letters.
        Ok(id) if plain.len() < 20 => client.order(OrderId(id)).await,
        _ if !plain.is_empty() && plain.chars().all(|c| c.is_ascii_hexdigit()) => {
            client.order_of_certificate(&plain).await
        }
        _ => {
            let message = format!("`{text}` is neither the number of an order nor a serial number or thumbprint");
            return Err(Failure::usage("order", message));
        }
    };
    found.map_err(|error| {
        if error.is_not_found() {
            Failure::usage("order", format!("the account has no order `{text}` ({error}); `dcv order list` shows them"))
        } else {
            error.into()
        }
    })
}

fn text(moment: Option<&Moment>) -> String {
    moment.map(ToString::to_string).unwrap_or_default()
}

fn names(certificate: Option<&certcentral::OrderCertificate>) -> Vec<String> {
    let Some(certificate) = certificate else { return Vec::new() };
    let mut names: Vec<String> = certificate.common_name.clone().into_iter().collect();
    names.extend(certificate.dns_names.iter().filter(|name| Some(*name) != certificate.common_name.as_ref()).cloned());
    names
}

async fn list(client: &Client, screen: Screen, args: &OrderList) -> Result<Code> {
    let ends = args.ends_before.map(|date| format!("<{date}"));
    let mut filters: Vec<(&str, &str)> = args.status.iter().map(|status| ("status", status.as_str())).collect();
    filters.extend(args.name.iter().map(|name| ("domain_name", name.as_str())));
    filters.extend(ends.iter().map(|ends| ("valid_till", ends.as_str())));
    filters.extend(args.filter.iter().map(|(property, value)| (property.as_str(), value.as_str())));
    let orders = client.all_orders(&filters, Some(&args.sort)).await?;
    let rows: Vec<Vec<String>> = orders
        .iter()
        .map(|order| {
            let certificate = order.certificate.as_ref();
            vec![
                order.id.to_string(),
                order.status.to_string(),
                order.product.as_ref().and_then(|product| product.name_id.clone()).unwrap_or_default(),
                names(certificate).join(" "),
                text(certificate.and_then(|certificate| certificate.valid_till.as_ref())),
                order.organization.as_ref().and_then(|organization| organization.name.clone()).unwrap_or_default(),
            ]
        })
        .collect();
    let head = ["ORDER", "STATUS", "PRODUCT", "NAMES", "ENDS", "ORGANIZATION"];
    if args.csv {
        Screen::csv(&head, &rows);
    } else {
        screen.table(&head, &rows, "no orders", json!({ "orders": orders }));
    }
    Ok(Code::Done)
}

async fn show(config: &Config, client: &Client, screen: Screen, text_of_order: &str) -> Result<Code> {
    let order = find(client, text_of_order).await?;
    let id = order.id;
    let validation = client.order_validation(id).await.ok();
    // What an account may not list is left out.
    let reissues = client.reissues(id).await.unwrap_or_default();
    let duplicates = client.duplicates(id).await.unwrap_or_default();
    let waiting = Dcv::builder(client.clone()).dns(config.dns()?).build().await?.waits_for(id).await?;
    let certificate = order.certificate.as_ref();
    let of_certificate =
        |field: fn(&certcentral::OrderCertificate) -> Option<String>| certificate.and_then(field).unwrap_or_default();
    let copies = |copies: &[IssuedCopy]| -> String {
        let each = copies.iter().map(|copy| format!("{} ({})", copy.id, copy.status));
        each.collect::<Vec<_>>().join(", ")
    };
    let mut facts = vec![
        ("order", id.to_string()),
        ("status", order.status.to_string()),
        ("to act", waiting.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("product", order.product.as_ref().and_then(|product| product.name_id.clone()).unwrap_or_default()),
        ("organization", order.organization.as_ref().and_then(|one| one.name.clone()).unwrap_or_default()),
        ("names", names(certificate).join(", ")),
        ("certificate", of_certificate(|certificate| certificate.id.map(|id| id.to_string()))),
        ("serial number", of_certificate(|certificate| certificate.serial_number.clone())),
        ("thumbprint", of_certificate(|certificate| certificate.thumbprint.clone())),
        ("valid from", text(certificate.and_then(|certificate| certificate.valid_from.as_ref()))),
        ("valid until", text(certificate.and_then(|certificate| certificate.valid_till.as_ref()))),
        ("order until", text(order.order_valid_till.as_ref())),
        ("placed", text(order.date_created.as_ref())),
        ("method", order.dcv_method.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("own id", order.alternative_order_id.clone().unwrap_or_default()),
        ("renews", order.renewed_order_id.filter(|id| id.0 != 0).map(|id| id.to_string()).unwrap_or_default()),
        ("renewed", order.is_renewed.filter(|yes| *yes).map(|_| "by a later order".to_owned()).unwrap_or_default()),
        ("reissues", copies(&reissues)),
        ("duplicates", copies(&duplicates)),
    ];
    for domain in validation.iter().flat_map(|validation| &validation.dns_name_validations) {
        let name = domain.name_scope.as_deref().unwrap_or_default();
        let method = domain.method.as_ref().map(|method| format!(" by {method}")).unwrap_or_default();
        facts.push(("domain", format!("{name} is {}{method}", domain.status)));
    }
    for one in validation.iter().flat_map(|validation| &validation.organization_validations) {
        let until = one.validated_until.as_ref().map(|until| format!(" until {until}")).unwrap_or_default();
        facts.push(("validation", format!("{} is {}{until}", one.validation_type, one.status)));
    }
    screen.facts(
        &facts,
        json!({
            "order": order, "validation": validation, "reissues": reissues, "duplicates": duplicates, "waiting": waiting,
        }),
    );
    Ok(Code::Done)
}

/// Revokes, after asking back.
pub(crate) async fn revoke(config: &Config, screen: Screen, args: &Revoke) -> Result<Code> {
    let client = config.client().await?;
    let what = match (args.order, args.certificate) {
        (Some(id), _) => {
            let order = find(&client, &id.to_string()).await?;
            if order.status == OrderStatus::Revoked {
                screen.result(format!("order {id} is revoked already"), json!({ "result": "revoked", "order_id": id }));
                return Ok(Code::Done);
            }
            format!("all certificates of order {id} ({})", names(order.certificate.as_ref()).join(", "))
        }
        (None, id) => format!("certificate {}", id.unwrap_or_default()),
    };
    if !args.yes && !screen.confirm(&format!("Revoke {what}? It cannot be undone.")) {
        return Err(Failure::usage("--yes", format!("nothing was revoked; give --yes to revoke {what}")));
    }
    let revocation = Revocation {
        revocation_reason: args.reason.clone(),
        comments: args.comment.clone(),
        skip_approval: args.skip_approval,
    };
    let request = match (args.order, args.certificate) {
        (Some(id), _) => client.revoke_order(OrderId(id), &revocation).await,
        (None, id) => client.revoke_certificate(CertificateId(id.unwrap_or_default()), &revocation).await,
    };
    let request = request.map_err(|error| {
        if error.outcome_unknown() {
            let message = format!("{error}; look with `dcv order show` and `dcv request list` before trying again");
            return Failure::new(Code::Unknown, message);
        }
        error.into()
    })?;
    match request.filter(|request| request.status != certcentral::RequestStatus::Approved) {
        None => {
            screen.result(format!("revoked: {what}"), json!({ "result": "revoked", "what": what }));
            Ok(Code::Done)
        }
        Some(request) => {
            let text = format!("{what}: request {0} has to be approved: `dcv request approve {0}`", request.id);
            screen.result(text, json!({ "result": "waiting", "on": "approver", "request": request }));
            Ok(Code::Waiting)
        }
    }
}

/// Fetches a certificate as a file.
pub(crate) async fn download(config: &Config, screen: Screen, args: &Download) -> Result<Code> {
    let client = config.client().await?;
    let order = match &args.order {
        Some(order) => Some(find(&client, order).await?),
        None => None,
    };
    let certificate = order.as_ref().and_then(|order| order.certificate.as_ref());
    let (number, expected) = match (&order, args.certificate) {
        (Some(order), _) => {
            let Some(id) = certificate.and_then(|certificate| certificate.id) else {
                let message = format!("order {} is {} and has no certificate yet", order.id, order.status);
                return Err(Failure::usage("order", message));
            };
            (id, certificate.and_then(|certificate| certificate.serial_number.clone()))
        }
        (None, id) => (CertificateId(id.unwrap_or_default()), None),
    };
    let body = fetch(&client, number, &args.format, expected.as_deref()).await?;
    let extension = extension(&args.format, &body);
    let out = args.out.clone().unwrap_or_else(|| format!("{number}.{extension}").into());
    if out == Path::new("-") {
        let _ = std::io::stdout().write_all(&body);
        return Ok(Code::Done);
    }
    let cannot = |error: std::io::Error| Failure::usage("--out", format!("`{}`: {error}", out.display()));
    let dir = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(cannot)?;
    file.write_all(&body).map_err(cannot)?;
    {
        use std::os::unix::fs::PermissionsExt;
        // A certificate is public.
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(cannot)?;
    }
    file.persist(&out).map_err(|error| cannot(error.error))?;
    screen.result(
        format!("{} ({} bytes)", out.display(), body.len()),
        json!({ "result": "downloaded", "certificate_id": number, "file": out, "bytes": body.len() }),
    );
    Ok(Code::Done)
}

/// Fetches it; where its serial number is known and can be read, until it is that one.
async fn fetch(client: &Client, id: CertificateId, format: &Format, serial: Option<&str>) -> Result<Vec<u8>> {
    for attempt in 1.. {
        let body = match format {
            Format::Platform => client.download_for_platform(id).await?,
            Format::Named(format) => client.download(id, format.clone()).await?,
        };
        let read = Chain::from_pem(&body).ok().map(|chain| chain.serial());
        let plain = |serial: &str| serial.trim_start_matches('0').replace(':', "").to_ascii_lowercase();
        match (read, serial) {
            (Some(read), Some(wanted)) if plain(&read) != plain(wanted) => {
                if attempt >= FETCHES {
                    let message =
                        format!("certificate {id}: CertCentral gave {read} instead of {wanted}; try again later");
                    return Err(Failure::new(Code::Refused, message));
                }
                tokio::time::sleep(Duration::from_millis(500) * attempt).await;
            }
            _ => return Ok(body.to_vec()),
        }
    }
    unreachable!("the last attempt returns")
}

fn extension(format: &Format, body: &[u8]) -> &'static str {
    match format {
        _ if body.starts_with(b"PK\x03\x04") => "zip",
        Format::Named(DownloadFormat::P7b) => "p7b",
        Format::Named(DownloadFormat::Cer | DownloadFormat::DefaultCer) => "cer",
        Format::Named(DownloadFormat::Crt) => "crt",
        _ => "pem",
    }
}
