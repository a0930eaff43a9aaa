//! Calls on orders.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Call, Client};
use crate::{
    error::{Error, Result},
    types::{
        DcvCheck, DcvMethod, DomainEmail, IssuedCopy, Moment, NewOrder, NewReissue, Order, OrderId, OrderValidation,
        Page, PlacedOrder, RandomValue, Request, Revocation, StatusChange,
    },
};

/// The longest window of status changes.
const LONGEST_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);
/// How far an order's date may lie before our own clock's idea of when it was placed: a day for clocks, and another for dates
/// without a time in a zone that is not ours.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_hours(48);

impl Client {
    /// Places an order. **It costs money, and is sent again only where it was certainly not read or was refused with 429.**
    /// When [`Error::outcome_unknown`], look with [`find_order_by_alternative_id`](Self::find_order_by_alternative_id)
    /// before doing anything else.
    ///
    /// # Errors
    /// 400 with a code for whatever is wrong with the order, 404 `not_found|product`.
    pub async fn place_order(&self, product: &str, order: &NewOrder) -> Result<PlacedOrder> {
        self.json(Call::post(format!("/order/certificate/{product}")).body(order)).await
    }

    /// An order (API page "Order info").
    ///
    /// # Errors
    /// [`Error::is_not_found`].
    pub async fn order(&self, id: OrderId) -> Result<Order> {
        self.json(Call::get(format!("/order/certificate/{id}"))).await
    }

    /// An order with [`Order::caa_status_message`], which says why CAA records hold a pending order up.
    ///
    /// # Errors
    /// [`Error::is_not_found`].
    pub async fn order_with_caa_status(&self, id: OrderId) -> Result<Order> {
        self.json(Call::get(format!("/order/certificate/{id}")).query("include_caa_status", true)).await
    }

    /// A page of the account's orders (API page "List orders"). Filters are property and value, e.g. `("status", "pending")`, and
    /// a property may be given more than once; `limit` is at most 1000. `issued` includes expired certificates.
    ///
    /// # Errors
    /// As any read.
    pub async fn orders(&self, filters: &[(&str, &str)], limit: u32, offset: u32) -> Result<Page<Order>> {
        let names = filter_names(filters);
        self.list(orders(&names, filters).query("limit", limit).query("offset", offset), "orders").await
    }

    /// All orders that pass these filters, in this order: `date_created`, or `-date_created` for the newest first.
    ///
    /// # Errors
    /// As any read.
    pub async fn all_orders(&self, filters: &[(&str, &str)], sort: Option<&str>) -> Result<Vec<Order>> {
        let names = filter_names(filters);
        let mut call = orders(&names, filters).query("limit", 1000);
        if let Some(sort) = sort {
            call = call.query("sort", sort);
        }
        self.all(call, "orders", |order: &Order| order.id).await
    }

    /// An order by the thumbprint (SHA-1) or the serial number of its primary certificate, both in hexadecimal without
    /// colons. Duplicates are not found.
    ///
    /// # Errors
    /// [`Error::is_not_found`].
    pub async fn order_of_certificate(&self, thumbprint_or_serial: &str) -> Result<Order> {
        let hexadecimal: String = thumbprint_or_serial.chars().filter(char::is_ascii_hexdigit).collect();
        self.json(Call::get(format!("/order/certificate/{hexadecimal}"))).await
    }

    // ---- after issue

    /// Asks for a certificate of the same order in place of the present one (API page "Reissue certificate"). It costs nothing by
    /// itself, but names that are added may; it is sent again only where it was certainly not read. When
    /// [`Error::outcome_unknown`], look at [`reissues`](Self::reissues) and at the order before doing anything else.
    ///
    /// # Errors
    /// 400 with a code for whatever is wrong; the order must be issued.
    pub async fn reissue(&self, id: OrderId, reissue: &NewReissue) -> Result<PlacedOrder> {
        self.json(Call::post(format!("/order/certificate/{id}/reissue")).body(reissue)).await
    }

    /// The reissues of an order, archived ones included (API page "List reissues").
    ///
    /// # Errors
    /// [`Error::is_not_found`].
    pub async fn reissues(&self, id: OrderId) -> Result<Vec<IssuedCopy>> {
        let call = Call::get(format!("/order/certificate/{id}/reissue")).query("show_archived", true);
        self.list(call, "certificates").await.map(|page| page.items)
    }

    /// Asks for one more certificate of the same order (API page "Duplicate certificate"). As careful as
    /// [`reissue`](Self::reissue).
    ///
    /// # Errors
    /// 400 with a code for whatever is wrong.
    pub async fn duplicate(&self, id: OrderId, duplicate: &NewReissue) -> Result<PlacedOrder> {
        self.json(Call::post(format!("/order/certificate/{id}/duplicate")).body(duplicate)).await
    }

    /// The duplicates of an order, archived ones included (API page "List duplicates").
    ///
    /// # Errors
    /// [`Error::is_not_found`].
    pub async fn duplicates(&self, id: OrderId) -> Result<Vec<IssuedCopy>> {
        let call = Call::get(format!("/order/certificate/{id}/duplicate")).query("show_archived", true);
        self.list(call, "certificates").await.map(|page| page.items)
    }

    /// Revokes all certificates of an order (API page "Revoke order certificates"). `None`: they are revoked; else the request
    /// that somebody has to approve.
    ///
    /// # Errors
    /// 400 when there is nothing to revoke, or a reissue is pending.
    pub async fn revoke_order(&self, id: OrderId, revocation: &Revocation) -> Result<Option<Request>> {
        self.revoke(format!("/order/certificate/{id}/revoke"), revocation).await
    }

    /// Looks for an order by the id its caller gave it: among those with this common name that were placed at or after `since`
    /// (with two days' allowance for clocks and zones). Reads the list to its end, which is seldom more than a page (where the account
    /// has a call for such ids, that is asked first), and Order
    /// info only of candidates whose list entry does not tell their id. An order may take a while to be listed: `None`
    /// soon after an unknown outcome is no proof that there is none.
    ///
    /// # Errors
    /// As any read.
    pub async fn find_order_by_alternative_id(
        &self,
        id: &str,
        common_name: &str,
        since: Timestamp,
    ) -> Result<Option<Order>> {
        let earliest = since - CLOCK_SKEW;
        let too_early = |order: &Order| {
            let placed = order.date_created.as_ref().and_then(Moment::timestamp);
            placed.is_some_and(|placed| placed < earliest)
        };
        if let Some(order) = self.order_by_alternative_id(id).await {
            // Where the order does not tell the id, all else has to fit.
            let named = order.certificate.as_ref().and_then(|certificate| certificate.common_name.as_deref());
            let fits = named.is_some_and(|named| named.eq_ignore_ascii_case(common_name)) && !too_early(&order);
            if order.alternative_order_id.as_deref().map_or(fits, |other| other == id) {
                return Ok(Some(order));
            }
        }
        let filters = [("common_name", common_name)];
        let names = filter_names(&filters);
        let call = orders(&names, &filters).query("limit", 1000);
        let listed = self.all(call, "orders", |order: &Order| order.id).await?;
        if let Some(found) = listed.iter().find(|order| order.alternative_order_id.as_deref() == Some(id)) {
            return Ok(Some(found.clone()));
        }
        for candidate in listed.iter().filter(|order| order.alternative_order_id.is_none()) {
            if too_early(candidate) {
                continue;
            }
            let order = self.order(candidate.id).await?;
            if order.alternative_order_id.as_deref() == Some(id) {
                return Ok(Some(order));
            }
        }
        Ok(None)
    }

    /// The order of an alternative id by the one call for it (API page "Get orders by alternative order ID"). `None` where there
    /// is no such order or, at an older service, no such call; then the list tells.
    async fn order_by_alternative_id(&self, id: &str) -> Option<Order> {
        let call = Call::get(format!("/order/alternate/{id}"));
        let found = self.list::<StatusChange>(call, "orders").await.ok()?.items.into_iter().next()?;
        self.order(found.order_id).await.ok()
    }

    /// What an order still needs: the best single call to learn its open domains (API page "Order validation status").
    ///
    /// # Errors
    /// [`Error::is_not_found`].
    pub async fn order_validation(&self, id: OrderId) -> Result<OrderValidation> {
        self.json(Call::get(format!("/order/certificate/{id}/validation"))).await
    }

    /// The order's random value: the present one while it lives, else a new one.
    ///
    /// # Errors
    /// 400 when the order's method has none or nothing is open.
    pub async fn order_random_value(&self, id: OrderId) -> Result<RandomValue> {
        self.json(Call::put(format!("/order/certificate/{id}/dcv-random-value"))).await
    }

    /// Asks CertCentral to look for the proofs of an order now; of these names only, or of all when there are none. Proofs that
    /// were not found are not an error, see [`DcvCheck`].
    ///
    /// # Errors
    /// 404, and whatever is not about a proof that was not found.
    pub async fn check_order_dcv(&self, id: OrderId, only: &[String]) -> Result<DcvCheck> {
        let mut call = Call::put(format!("/order/certificate/{id}/check-dcv"));
        if !only.is_empty() {
            call = call.body(json!({ "dns_names_validations": only }));
        }
        match self.json_or_default(call).await {
            Err(Error::Api { status: 400, errors, .. }) if errors.iter().any(|e| is_not_found_yet(e.code.class())) => {
                Ok(DcvCheck { errors, ..DcvCheck::default() })
            }
            other => other,
        }
    }

    /// The orders whose status has changed in the last `window`, at most seven days, in whole seconds, rounded up. One call
    /// for all orders of the account.
    ///
    /// # Errors
    /// As any read.
    pub async fn status_changes(&self, window: Duration) -> Result<Vec<StatusChange>> {
        let window = window.min(LONGEST_WINDOW);
        let seconds = (window.as_secs() + u64::from(window.subsec_nanos() > 0)).max(1);
        let call = Call::get("/order/certificate/status-changes").query("seconds", seconds);
        self.list(call, "orders").await.map(|page| page.items)
    }

    /// Cancels a pending order, or a pending reissue.
    ///
    /// # Errors
    /// 400 when the order is beyond that.
    pub async fn cancel_order(&self, id: OrderId, note: &str) -> Result<()> {
        let body = json!({ "status": "CANCELED", "note": note });
        self.nothing(Call::put(format!("/order/certificate/{id}/status")).body(body)).await
    }

    /// Sends the mails of an order's domains again, to these addresses (API page "Resend DCV emails"). `locale` is the mails' language.
    ///
    /// # Errors
    /// 400 when the order's method is not `email`.
    pub async fn resend_order_emails(&self, id: OrderId, emails: &[DomainEmail], locale: Option<&str>) -> Result<()> {
        let mut body = json!({ "domain_approval_emails": emails });
        if let Some(locale) = locale {
            body["locale"] = json!(locale);
        }
        self.nothing(Call::put(format!("/order/certificate/{id}/resend-emails")).body(body)).await
    }

    /// Changes the method of a pending order. For token methods the answer is the order's random value.
    ///
    /// # Errors
    /// 400 when the method is not for this order.
    pub async fn change_order_dcv_method(&self, id: OrderId, method: &DcvMethod) -> Result<Option<RandomValue>> {
        let call = Call::put(format!("/order/certificate/{id}/dcv-method")).body(json!({ "dcv_method": method }));
        let answer: Value = self.json_or_default(call).await?;
        Ok(serde_json::from_value(answer).ok())
    }
}

/// Codes of a check that say "not there yet": `invalid_dns_txt` and `file_random_value_not_found` are documented; a
/// counterpart for CNAME must exist, and its name is not public.
pub(super) fn is_not_found_yet(class: &str) -> bool {
    matches!(class, "invalid_dns_txt" | "invalid_dns_cname" | "invalid_cname" | "caa_check_failed" | "caa_not_found")
        || class.contains("random_value_not_found")
        || class.contains("token_not_found")
        || (class.contains("dns") && class.contains("not_found"))
}

/// How each filter is called on the wire: `filters[status]`, or `filters[status][0]` and on for several of one property.
fn filter_names(filters: &[(&str, &str)]) -> Vec<String> {
    let same =
        |property: &str, filters: &[(&str, &str)]| filters.iter().filter(|(other, _)| *other == property).count();
    let name = |(index, (property, _)): (usize, &(&str, &str))| match same(property, filters) {
        1 => format!("filters[{property}]"),
        _ => format!("filters[{property}][{}]", same(property, &filters[..index])),
    };
    filters.iter().enumerate().map(name).collect()
}

/// The list of orders that pass these filters.
fn orders<'a>(names: &'a [String], filters: &[(&str, &str)]) -> Call<'a> {
    let values = filters.iter().map(|(_, value)| value);
    names.iter().zip(values).fold(Call::get("/order/certificate"), |call, (name, value)| call.query(name, value))
}
