//! What Azure's roles allow.

use serde::Deserialize;

/// What our roles allow.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Permissions {
    value: Vec<Permission>,
    #[serde(rename = "nextLink")]
    next: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Permission {
    actions: Vec<String>,
    not_actions: Vec<String>,
}

impl Permissions {
    /// Those of the actions that no role allows; none where not all roles are told.
    pub(crate) fn missing<'a>(&self, actions: &'a [String]) -> Vec<&'a str> {
        if self.value.is_empty() || self.next.as_ref().is_some_and(|next| !next.is_empty()) {
            return Vec::new();
        }
        let covered = |list: &[String], action: &str| list.iter().any(|pattern| covers(pattern, action));
        let allowed = |action: &str| {
            self.value.iter().any(|role| covered(&role.actions, action) && !covered(&role.not_actions, action))
        };
        actions.iter().map(String::as_str).filter(|action| !allowed(action)).collect()
    }
}

/// Whether a role's action, in which `*` is anything, covers this one.
fn covers(pattern: &str, action: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern.eq_ignore_ascii_case(action) };
    action.get(..head.len()).is_some_and(|start| start.eq_ignore_ascii_case(head))
        && (head.len()..=action.len()).any(|at| action.get(at..).is_some_and(|rest| covers(tail, rest)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn roles_allow_what_they_say() {
        let role = |actions: Value, not: Value| json!({ "actions": actions, "notActions": not });
        let write = ["Microsoft.Network/dnsZones/TXT/write".to_owned()];
        for (roles, allowed) in [
            (json!([role(json!(["*"]), json!([]))]), true),
            (json!([role(json!(["*/read"]), json!([]))]), false),
            (
                json!([role(json!(["*/read"]), json!([])), role(json!(["microsoft.network/dnszones/*"]), json!([]))]),
                true,
            ),
            (json!([role(json!(["*"]), json!(["Microsoft.Network/*/write"]))]), false),
            (json!([role(json!(["*"]), json!(["*/write"])), role(json!(["Microsoft.*/TXT/*"]), json!([]))]), true),
            (json!([role(json!(["Microsoft.Network/dnsZones/TXT"]), json!([]))]), false),
            (json!([]), true),
        ] {
            let permissions: Permissions = serde_json::from_value(json!({ "value": roles })).expect("permissions");
            assert_eq!(permissions.missing(&write).is_empty(), allowed, "{roles}");
        }
        let more: Permissions =
            serde_json::from_value(json!({ "value": [role(json!([]), json!([]))], "nextLink": "x" }))
                .expect("permissions");
        assert!(more.missing(&write).is_empty(), "not all roles are told");
    }
}
