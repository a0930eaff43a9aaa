//! What can be ordered: every OV and EV product for TLS of the documentation ("Glossary - Product identifiers"), and
//! private TLS, with what each allows. DV products are not here; they need nothing an organization has.

use serde::{Deserialize, Serialize};

/// Kind of validation a product needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Validation {
    /// Organization validation.
    Ov,
    /// Extended validation.
    Ev,
}

impl Validation {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Ov => "ov",
            Self::Ev => "ev",
        }
    }
}

/// A product that the account can order.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Product {
    /// The last part of the order's path.
    pub name_id: String,
    /// Its name.
    pub name: String,
    /// What it needs.
    pub validation: Validation,
    /// Whether wildcard names can be ordered.
    #[serde(default)]
    pub wildcards: bool,
    /// How many names, common name included.
    #[serde(default = "many")]
    pub max_names: usize,
    /// Whether it takes any mix of names and a choice of issuing CA (`ca_cert_id`).
    #[serde(default)]
    pub flex: bool,
    /// Whether it is below a private root, where the public limits of validity do not hold.
    #[serde(default)]
    pub private: bool,
}

fn many() -> usize {
    250
}

impl Product {
    pub(super) fn catalog() -> Vec<Self> {
        use Validation::{Ev, Ov};
        const FLEX: [(&str, &str, Validation, bool); 6] = [
            ("ssl_basic", "Basic OV", Ov, true),
            ("ssl_ev_basic", "Basic EV", Ev, false),
            ("ssl_securesite_flex", "Secure Site OV", Ov, true),
            ("ssl_ev_securesite_flex", "Secure Site EV", Ev, false),
            ("ssl_securesite_pro", "Secure Site Pro SSL", Ov, true),
            ("ssl_ev_securesite_pro", "Secure Site Pro EV SSL", Ev, false),
        ];
        const OLDER: [(&str, &str, Validation, bool, usize); 19] = [
            ("ssl_securesite", "Secure Site SSL", Ov, false, 2),
            ("ssl_securesite_multi_domain", "Secure Site Multi-Domain SSL", Ov, false, 250),
            ("ssl_securesite_wildcard", "Secure Site Wildcard SSL", Ov, true, 250),
            ("ssl_ev_securesite", "Secure Site EV SSL", Ev, false, 2),
            ("ssl_ev_securesite_multi_domain", "Secure Site EV Multi-Domain SSL", Ev, false, 250),
            ("ssl_plus", "Standard SSL", Ov, false, 2),
            ("ssl_multi_domain", "Multi-Domain SSL", Ov, false, 250),
            ("ssl_wildcard", "Wildcard SSL", Ov, true, 250),
            ("ssl_cloud_wildcard", "Cloud", Ov, true, 250),
            ("ssl_ev_plus", "Extended Validation SSL", Ev, false, 2),
            ("ssl_ev_multi_domain", "EV Multi-Domain", Ev, false, 250),
            ("ssl_geotrust_truebizid", "GeoTrust TrueBusiness ID OV", Ov, true, 250),
            ("ssl_ev_geotrust_truebizid", "GeoTrust TrueBusiness ID EV", Ev, false, 250),
            ("ssl_thawte_webserver", "Thawte SSL Webserver OV", Ov, true, 250),
            ("ssl_ev_thawte_webserver", "Thawte SSL Webserver EV", Ev, false, 250),
            ("private_ssl_plus", "Private SSL Plus", Ov, false, 2),
            ("private_ssl_wildcard", "Private SSL Wildcard", Ov, true, 250),
            ("private_ssl_multi_domain", "Private SSL Multi-Domain", Ov, false, 250),
            ("private_ssl_flex", "Private SSL", Ov, true, 250),
        ];
        let flex = FLEX.into_iter().map(|(id, name, kind, wildcards)| (id, name, kind, wildcards, many()));
        flex.chain(OLDER)
            .map(|(name_id, name, validation, wildcards, max_names)| Self {
                name_id: name_id.to_owned(),
                name: name.to_owned(),
                validation,
                wildcards,
                max_names,
                flex: FLEX.iter().any(|(id, ..)| *id == name_id) || name_id == "private_ssl_flex",
                private: name_id.starts_with("private_"),
            })
            .collect()
    }

    pub(crate) fn group(&self) -> &'static str {
        if self.private {
            "private_ssl_certificate"
        } else if self.name_id.contains("securesite") {
            "securesite_ssl_certificate"
        } else {
            "ssl_certificate"
        }
    }

    /// `validation_type` of product answers.
    pub(crate) fn validation_type(&self) -> &'static str {
        if self.private { "Private SSL" } else { self.validation.text() }
    }

    /// The product that `POST order/certificate/ssl` means: the hint is an identifier, or `ov` or `ev` and the names
    /// decide ("Order SSL (type_hint)").
    pub(crate) fn guess<'a>(all: &'a [Self], hint: &str, names: &[String]) -> Option<&'a Self> {
        let wildcards = names.iter().filter(|name| name.starts_with("*.")).count();
        let several = names.len() > 2;
        let name_id = match (hint, wildcards, several) {
            ("ov", 0, false) => "ssl_plus",
            ("ov", 0, true) => "ssl_multi_domain",
            ("ov", 1, false) => "ssl_wildcard",
            ("ev", 0, false) => "ssl_ev_plus",
            ("ev", 0, true) => "ssl_ev_multi_domain",
            ("ov" | "ev", ..) => return None,
            (other, ..) => other,
        };
        all.iter().find(|product| product.name_id == name_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_and_the_names_decide() {
        let all = Product::catalog();
        let guess = |hint: &str, names: &str| {
            let names: Vec<String> = names.split(' ').map(str::to_owned).collect();
            Product::guess(&all, hint, &names).map(|product| product.name_id.as_str())
        };
        let table = [
            ("ov", "example.com", Some("ssl_plus")),
            ("ov", "example.com www.example.com", Some("ssl_plus")),
            ("ov", "example.com a.com b.com", Some("ssl_multi_domain")),
            ("ov", "*.example.com", Some("ssl_wildcard")),
            ("ov", "*.example.com *.example.net", None),
            ("ev", "example.com", Some("ssl_ev_plus")),
            ("ev", "a.com b.com c.com", Some("ssl_ev_multi_domain")),
            ("ev", "*.example.com", None),
            ("ssl_basic", "*.example.com", Some("ssl_basic")),
            ("dv", "example.com", None),
        ];
        for (hint, names, expected) in table {
            assert_eq!(guess(hint, names), expected, "{hint} {names}");
        }
    }
}
