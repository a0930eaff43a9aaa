//! What CertCentral, or a gateway before it, answers.

use certcentral::{Error, Moment, WebhookEvent, fuzz};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};

use crate::one_line;

/// What was read is written and read again without a change.
fn is_kept<T: Serialize + DeserializeOwned>(body: &[u8]) {
    let Ok(value) = fuzz::read::<T>(body) else { return };
    let text = serde_json::to_string(&value).expect("it can be written");
    let again = fuzz::read::<T>(text.as_bytes());
    let again = again.unwrap_or_else(|error| panic!("{} was written and is not read: {error}: {text}", name::<T>()));
    assert_eq!(serde_json::to_string(&again).expect("it can be written"), text, "{} changes", name::<T>());
}

fn name<T>() -> &'static str {
    std::any::type_name::<T>()
}

macro_rules! all_kept {
    ($body:expr, $($name:ident),* $(,)?) => {
        $(is_kept::<certcentral::$name>($body);)*
    };
}

/// An answer of every kind.
pub(crate) fn answer(input: &[u8]) {
    all_kept!(
        input,
        PlacedOrder,
        Order,
        OrderValidation,
        OrganizationValidation,
        StatusChange,
        RandomValue,
        DomainToken,
        Domain,
        ValidationEmails,
        DomainValidation,
        DcvCheck,
        TokenCheck,
        Webhook,
        WebhookEvent,
        User,
        Organization,
        Product,
        Request,
        IssuedCopy,
    );
    let _ = fuzz::read::<certcentral::AddedDomain>(input);
    let _ = fuzz::read::<certcentral::DcvStart>(input);
    if let Ok(event) = WebhookEvent::read(input) {
        let _ = (event.order_id(), event.certificate_id());
    }
    if let Ok(check) = fuzz::read::<certcentral::DcvCheck>(input) {
        let _ = (check.is_approved("example.com"), check.reason());
    }
    if let Ok(domain) = fuzz::read::<certcentral::Domain>(input) {
        let _ = (
            domain.is_validated_at(Timestamp::MAX),
            domain.is_validated_at(Timestamp::MIN),
            domain.validated_until("ov"),
        );
    }
    if let Ok(token) = fuzz::read::<certcentral::DomainToken>(input) {
        let _ = token.is_ending(Timestamp::MAX, jiff::SignedDuration::MAX);
        let _ = token.is_ending(Timestamp::MIN, jiff::SignedDuration::MAX);
    }
}

/// A body that came with an error.
pub(crate) fn error(input: &[u8]) {
    let errors = fuzz::errors(input);
    for status in [302, 401, 429, 500] {
        let error = Error::Api {
            call: "PUT /order/certificate/1/check-dcv".to_owned(),
            status,
            errors: errors.clone(),
            retry_after: None,
            writes: true,
        };
        one_line(&error.to_string());
        assert_eq!(error.outcome_unknown(), status >= 500);
        let _ = (error.is_not_found(), error.is_auth(), error.is_rate_limited());
    }
    for error in &errors {
        let code = error.code.as_str();
        match error.code.detail() {
            Some(detail) => assert_eq!(format!("{}|{detail}", error.code.class()), code),
            None => assert_eq!(error.code.class(), code),
        }
    }
}

/// A header or a moment in an answer.
pub(crate) fn header(input: &[u8]) {
    for now in [Timestamp::UNIX_EPOCH, Timestamp::MAX, Timestamp::MIN] {
        let wait = fuzz::retry_after(input, now);
        assert!(wait.is_none_or(|wait| wait.as_secs() <= 600), "without end: {wait:?}");
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let moment = Moment::from(text);
    let _ = moment.timestamp();
    assert_eq!(Moment::from(moment.to_string().as_str()), moment, "from {text:?}");
}
