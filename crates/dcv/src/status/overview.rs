//! The page of everything, and what all pages have in common.

use dcv_core::propagation::{Sight, View};
use jiff::Timestamp;
use serde::Deserialize;

use super::{
    Kept, Kind, RunId, Shared, Shown, Stage, Stand, Step, Watched,
    html::{Html, distance, page_of, percent},
    timeline,
};

/// How often a page without scripts reloads itself, in seconds.
const RELOAD: u32 = 15;
/// Rows of the table on one page.
const ROWS: usize = 100;
/// Recent events shown.
const LATELY: usize = 15;
/// Proofs shown of one run; of a hundred names those that are not done come first.
const PROOFS: usize = 25;

/// What a page was asked for.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    /// Part of a label or a name.
    q: String,
    page: usize,
    /// Not to reload by itself.
    still: Option<String>,
}

/// A whole page. `reload`: without scripts, from time to time.
pub(super) fn frame(
    title: &str,
    reload: bool,
    may_leave: bool,
    now: Timestamp,
    body: impl FnOnce(&mut Html),
) -> String {
    let mut html = Html::default();
    html.raw("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>").text(title).raw("</title>");
    html.raw(
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\">\
         <link rel=\"stylesheet\" href=\"/style.css\">",
    );
    if reload {
        html.raw("<noscript>").tag("meta", &[("http-equiv", &"refresh"), ("content", &RELOAD)]).raw("</noscript>");
        html.raw("<script src=\"/live.js\" defer></script>");
    }
    html.raw(
        "</head><body><a class=\"skip\" href=\"#main\">To the content</a><header class=\"top\"><div class=\"wide\">\
         <a class=\"brand\" href=\"/\"><span aria-hidden=\"true\" class=\"mark\">◆</span> dcv <span class=\"what\">keeper</span></a>\
         <nav aria-label=\"Pages\">",
    );
    html.raw("<a href=\"/\">Overview</a><a href=\"/metrics\">Metrics</a></nav><div class=\"state\">");
    if reload {
        html.raw("<span id=\"link\" class=\"link\" role=\"status\"></span><button id=\"live\" type=\"button\" hidden>Pause</button>");
        html.raw("<noscript><a href=\"?still=yes\">Do not reload</a></noscript>");
    }
    if may_leave {
        html.raw("<form method=\"post\" action=\"/leave\"><button type=\"submit\">Log out</button></form>");
    }
    html.raw("</div></div></header><main id=\"main\" class=\"wide\" tabindex=\"-1\">");
    body(&mut html);
    html.raw("</main><footer class=\"wide\"><p id=\"made\" data-live>As of ").time(now, "%Y-%m-%d %H:%M:%S UTC");
    html.raw(" · dcv ").text(env!("CARGO_PKG_VERSION")).raw("</p></footer></body></html>");
    html.into_string()
}

/// The form that asks for the token.
pub(super) fn door(wrong: bool) -> String {
    frame("dcv: log in", false, false, Timestamp::now(), |html| {
        html.raw("<section class=\"card door\"><h1>Log in</h1><form method=\"post\" action=\"/enter\">");
        if wrong {
            html.raw("<p class=\"alarm\" role=\"alert\" id=\"wrong\"><span aria-hidden=\"true\">✕</span> That is not the token.</p>");
        }
        html.raw("<label for=\"token\">Token <span class=\"quiet\">(<code>keep.token</code> of the configuration)</span></label>");
        html.raw(
            "<input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required autofocus",
        );
        html.raw(if wrong { " aria-invalid=\"true\" aria-describedby=\"wrong\">" } else { ">" });
        html.raw("<button type=\"submit\" class=\"main\">Log in</button></form></section>");
    })
}

/// There is no such page.
pub(super) fn nothing(may_leave: bool) -> String {
    frame("dcv: not found", false, may_leave, Timestamp::now(), |html| {
        html.raw(
            "<section class=\"card door\"><h1>Not found</h1><p>Nothing is kept under that name, and the journal has no run of it. \
             <a href=\"/\">The overview</a> lists all that is.</p></section>",
        );
    })
}

/// The page of everything.
pub(super) fn page(shared: &Shared, asked: &Asked, may_leave: bool, now: Timestamp) -> String {
    frame("dcv: what is kept", asked.still.is_none(), may_leave, now, |html| {
        html.raw("<h1 class=\"seen-by-readers\">What is kept</h1>");
        alarm(html, shared, now);
        figures(html, shared, now);
        waiting(html, shared, now);
        let kept = shared.by_urgency(now);
        html.raw(
            "<section class=\"card\" aria-labelledby=\"lives\"><h2 id=\"lives\">Expiry</h2><div id=\"line\" data-live>",
        );
        timeline::draw(html, &kept, now);
        html.raw("</div></section>");
        table(html, &kept, asked, now);
        proofs(html, shared);
        html.raw("<div class=\"two\">");
        lately(html, shared);
        budget(html, shared);
        html.raw("</div>");
    })
}

fn alarm(html: &mut Html, shared: &Shared, now: Timestamp) {
    html.raw("<div id=\"alarm\" data-live>");
    if let Some((since, why)) = &shared.account.failure {
        html.raw("<p class=\"alarm\" role=\"alert\"><span aria-hidden=\"true\">✕</span> <strong>The last look failed</strong>, first ");
        html.text(distance(now, *since)).raw(": ").text(why).raw("</p>");
    }
    html.raw("</div>");
}

fn figures(html: &mut Html, shared: &Shared, now: Timestamp) {
    let count = |stage| shared.kept.values().filter(|kept| kept.stand.stage == stage).count();
    let due = shared.kept.values().filter(|kept| kept.task.is_due(now)).count();
    let next = shared.kept.values().filter_map(|kept| kept.task.ends).min();
    let domains = shared.kept.values().filter(|kept| kept.kind == Kind::Domain).count();
    html.raw("<section aria-label=\"In figures\"><dl id=\"figures\" class=\"figures\" data-live>");
    let mut figure = |class: &str, word: &'static str, number: String, of: String| {
        html.tag("div", &[("class", &class)]).raw("<dt>").raw(word).raw("</dt><dd><b>").text(number).raw("</b> <span>");
        html.text(of).raw("</span></dd></div>");
    };
    let certificates = shared.kept.len() - domains;
    figure("", "Kept", shared.kept.len().to_string(), format!("{certificates} certificates, {domains} domains"));
    let ends = next.map_or_else(|| "–".to_owned(), |at| at.strftime("%-d %b").to_string());
    let of = |at: Timestamp| format!("{}, {}", at.strftime("%Y"), distance(now, at));
    figure("", "Next end", ends, next.map(of).unwrap_or_default());
    let class = |stage, number| if number == 0 { "none".to_owned() } else { class_of(stage).to_owned() };
    figure("", "Due", due.to_string(), format!("{} queued", count(Stage::Queued)));
    let works = count(Stage::Works);
    figure(&class(Stage::Works, works), "At work", works.to_string(), String::new());
    let waits = count(Stage::Waits);
    let text = if waits == 0 { "for nobody" } else { "somebody has to act" };
    figure(&class(Stage::Waits, waits), "Waiting", waits.to_string(), text.to_owned());
    let failed = count(Stage::Failed);
    let text = if failed == 0 { "" } else { "tried again by itself" };
    figure(&class(Stage::Failed, failed), "Failed", failed.to_string(), text.to_owned());
    html.raw("</dl></section>");
}

fn waiting(html: &mut Html, shared: &Shared, now: Timestamp) {
    let waits = |stage| matches!(stage, Stage::Waits | Stage::Failed);
    let mut waiting: Vec<(&String, &Kept)> = shared.kept.iter().filter(|(_, kept)| waits(kept.stand.stage)).collect();
    waiting.sort_by_key(|(_, kept)| (kept.stand.stage, kept.stand.since));
    html.raw("<section class=\"card\" aria-labelledby=\"waits\"><h2 id=\"waits\">What waits for whom</h2><div id=\"waiting\" data-live>");
    if waiting.is_empty() {
        html.raw("<p class=\"quiet\">Nothing waits for anybody.</p>");
    } else {
        begin_table(html, "What waits for whom", &["What", "State", "Who has to act", "What for", "Since"]);
        for (label, kept) in waiting {
            html.raw("<tr><th scope=\"row\">");
            link(html, label).raw("</th><td>");
            chip(html, kept.stand.stage);
            let who = kept.stand.on.map_or_else(|| "nobody; it is tried again".to_owned(), |on| on.to_string());
            html.raw("</td><td>").text(who).raw("</td><td class=\"long\">").text(&kept.stand.text).raw("</td><td>");
            html.tag("time", &[("datetime", &kept.stand.since)]).text(distance(now, kept.stand.since));
            html.raw("</time></td></tr>");
        }
        html.raw("</tbody></table></div>");
    }
    html.raw("</div></section>");
}

fn table(html: &mut Html, kept: &[(&String, &Kept)], asked: &Asked, now: Timestamp) {
    let part = asked.q.trim().to_lowercase();
    let holds = |text: &str| text.to_lowercase().contains(&part);
    let found: Vec<&(&String, &Kept)> =
        kept.iter().filter(|(label, kept)| holds(label) || kept.names.iter().any(|name| holds(name))).collect();
    let last = found.len().div_ceil(ROWS).max(1);
    let page = asked.page.clamp(1, last);
    html.raw("<section class=\"card\" aria-labelledby=\"all\"><div class=\"head\"><h2 id=\"all\">Certificates and domains</h2>");
    html.raw("<form method=\"get\" action=\"/\" role=\"search\"><label for=\"q\">Label or name</label> ");
    html.tag("input", &[("id", &"q"), ("name", &"q"), ("type", &"search"), ("value", &asked.q)]);
    html.raw("<button type=\"submit\">Find</button></form></div><div id=\"kept\" data-live>");
    if found.is_empty() {
        html.raw(if kept.is_empty() {
            "<p class=\"quiet\">Nothing was looked at yet.</p>"
        } else {
            "<p class=\"quiet\">Nothing of what is kept has that in it.</p>"
        });
    } else {
        begin_table(
            html,
            "Certificates and domains",
            &["What", "State", "Ends", "Left of its life", "Next act", "Why"],
        );
        for (label, kept) in found.iter().skip((page - 1) * ROWS).take(ROWS) {
            row(html, label, kept, now);
        }
        html.raw("</tbody></table></div>");
    }
    if last > 1 {
        html.raw("<nav aria-label=\"Pages of the table\" class=\"pages\">");
        let address = |page: usize| format!("/?q={}&page={page}", percent(&asked.q));
        if page > 1 {
            html.tag("a", &[("href", &address(page - 1)), ("rel", &"prev")]).raw("‹ Before</a> ");
        }
        html.raw("<span>Page ").text(page).raw(" of ").text(last).raw("</span>");
        if page < last {
            html.raw(" ").tag("a", &[("href", &address(page + 1)), ("rel", &"next")]).raw("Next ›</a>");
        }
        html.raw("</nav>");
    }
    html.raw("</div></section>");
}

fn row(html: &mut Html, label: &str, kept: &Kept, now: Timestamp) {
    html.raw("<tr><th scope=\"row\">");
    link(html, label);
    let others = kept.names.len().saturating_sub(1);
    if kept.kind == Kind::Domain {
        html.raw("<small>domain</small>");
    } else if let Some(first) = kept.names.first() {
        html.raw("<small>").text(first);
        if others > 0 {
            html.text(format_args!(" and {others} more"));
        }
        html.raw("</small>");
    }
    html.raw("</th><td>");
    chip(html, kept.stand.stage);
    html.raw("</td><td class=\"date\">");
    match kept.task.ends {
        Some(ends) => {
            html.time(ends, "%Y-%m-%d").raw("<small>").text(distance(now, ends)).raw("</small>");
        }
        None => {
            html.raw("–");
        }
    }
    html.raw("</td><td>");
    left(html, kept, now);
    html.raw("</td><td class=\"date\">").text(kept.task.act.word()).raw("<small>");
    if kept.task.is_due(now) {
        html.raw("now");
    } else {
        html.time(kept.task.at, "%Y-%m-%d");
    }
    html.raw("</small></td><td class=\"long\">").text(&kept.task.why).raw("</td></tr>");
}

/// How much of a life is left, as a bar and in words.
pub(super) fn left(html: &mut Html, kept: &Kept, now: Timestamp) {
    let Some((begin, end)) = kept.life else {
        html.raw("–");
        return;
    };
    let whole = end.duration_since(begin).as_secs_f64().max(1.0);
    let part = (end.duration_since(now).as_secs_f64() / whole).clamp(0.0, 1.0);
    let class = if kept.task.is_due(now) { "gauge due" } else { "gauge" };
    gauge(html, class, part);
    html.text(format_args!("{:.0} %", part * 100.0));
}

/// A bar filled by a part of one. What it says stands beside it.
fn gauge(html: &mut Html, class: &str, part: f64) {
    let width = format!("{:.1}", part.clamp(0.0, 1.0) * 100.0);
    html.tag(
        "svg",
        &[("class", &class), ("viewBox", &"0 0 100 8"), ("preserveAspectRatio", &"none"), ("aria-hidden", &"true")],
    );
    html.raw("<rect class=\"ground\" width=\"100\" height=\"8\"/>");
    html.tag("rect", &[("class", &"part"), ("width", &width), ("height", &"8")]).raw("</rect></svg>");
}

fn proofs(html: &mut Html, shared: &Shared) {
    html.raw("<section class=\"card\" aria-labelledby=\"proofs\"><h2 id=\"proofs\">Proofs of running orders</h2><div id=\"shown\" data-live>");
    let mut runs: Vec<(&RunId, &Watched)> =
        shared.runs.iter().filter(|(_, run)| !run.over && !run.proofs.is_empty()).collect();
    runs.sort_by_key(|(_, run)| std::cmp::Reverse(run.heard));
    if runs.is_empty() {
        html.raw("<p class=\"quiet\">Nothing is being proved.</p>");
    }
    for (id, run) in runs {
        html.raw("<h3>");
        match &run.label {
            Some(label) => {
                link(html, label);
            }
            None => {
                html.text(run.names.join(", "));
            }
        }
        html.raw(" <small>run ").text(id);
        if let Some(order) = run.order {
            html.raw(", order ").text(order);
        }
        html.raw("</small></h3>");
        proofs_of(html, id, run);
    }
    html.raw("</div></section>");
}

/// The proofs of a run, and what each place shows.
pub(super) fn proofs_of(html: &mut Html, id: &RunId, run: &Watched) {
    let mut proofs: Vec<(&String, &Shown)> = run.proofs.iter().collect();
    proofs.sort_by_key(|(domain, shown)| (shown.step, *domain));
    let left_out = proofs.len().saturating_sub(PROOFS);
    begin_table(html, "Proofs of a run", &["Domain", "Proof", "Placed by", "State", "What each server shows"]);
    for (domain, shown) in proofs.into_iter().take(PROOFS) {
        html.raw("<tr><th scope=\"row\">").text(domain).raw("</th><td class=\"long\">");
        if let Some(proof) = &shown.proof {
            html.text(proof.kind()).raw("<small><code>").text(proof.name()).raw("</code></small>");
        }
        html.raw("</td><td>").text(shown.provider.as_deref().unwrap_or("–")).raw("</td><td>");
        let stage = if shown.step >= Step::Visible { Stage::Done } else { Stage::Works };
        html.tag("span", &[("class", &class_of(stage))]).raw("<span aria-hidden=\"true\">").raw(stage.sign());
        html.raw("</span> ").raw(shown.step.word()).raw("</span></td><td class=\"long\">");
        views(html, id, domain, &shown.views);
        html.raw("</td></tr>");
    }
    html.raw("</tbody></table></div>");
    if left_out > 0 {
        html.raw("<p class=\"quiet\">And ").text(left_out).raw(" more, which are further.</p>");
    }
}

fn views(html: &mut Html, id: &RunId, domain: &str, views: &[View]) {
    if views.is_empty() {
        html.raw("<span class=\"quiet\">not asked yet</span>");
        return;
    }
    let shows = views.iter().filter(|view| view.sight == Sight::Shows).count();
    html.tag("details", &[("id", &format_args!("see-{id}-{domain}"))]);
    html.raw("<summary>")
        .text(format_args!("{shows} of {} show it", views.len()))
        .raw("</summary><ul class=\"views\">");
    for view in views {
        let stage = match &view.sight {
            Sight::Shows => Stage::Done,
            Sight::Dead(_) | Sight::Lame(_) => Stage::Failed,
            _ => Stage::Waits,
        };
        html.tag("li", &[("class", &class_of(stage))]).raw("<span aria-hidden=\"true\">").raw(stage.sign());
        html.raw("</span> ").text(view).raw("</li>");
    }
    html.raw("</ul></details>");
}

fn lately(html: &mut Html, shared: &Shared) {
    html.raw(
        "<section class=\"card\" aria-labelledby=\"lately\"><h2 id=\"lately\">Lately</h2><div id=\"events\" data-live>",
    );
    if shared.events.is_empty() {
        html.raw("<p class=\"quiet\">Nothing has happened yet.</p>");
    } else {
        begin_table(html, "Recent events", &["When", "Whose", "What"]);
        for said in shared.events.iter().take(LATELY) {
            html.raw("<tr><td class=\"date\">").time(said.at, "%H:%M:%S").raw("</td><th scope=\"row\">");
            if shared.kept.contains_key(&said.whose) {
                link(html, &said.whose);
            } else {
                html.text(&said.whose);
            }
            html.raw("</th><td class=\"long\">").text(&said.text).raw("</td></tr>");
        }
        html.raw("</tbody></table></div>");
    }
    html.raw("</div></section>");
}

fn budget(html: &mut Html, shared: &Shared) {
    html.raw("<section class=\"card\" aria-labelledby=\"calls\"><h2 id=\"calls\">Calls to CertCentral</h2><div id=\"budget\" data-live>");
    let Some(client) = &shared.account.client else {
        html.raw("<p class=\"quiet\">None was made yet.</p></div></section>");
        return;
    };
    for (used, window) in client.budget().usage().windows {
        #[expect(clippy::cast_precision_loss, reason = "a thousand at most")]
        let part = used as f64 / window.calls.max(1) as f64;
        html.raw("<p class=\"meter\"><span><b>").text(used).raw("</b> of ").text(window.calls).raw("</span> <span>in ");
        html.text(window.length.as_secs()).raw(" s</span>");
        gauge(html, if part > 0.8 { "gauge due" } else { "gauge" }, part);
        html.raw("</p>");
    }
    html.raw("<p class=\"quiet\">What CertCentral allows an API key, in two windows that roll.</p></div></section>");
}

// ---- parts

/// A table that may be wider than the screen, up to its rows. The caller ends it with `</tbody></table></div>`.
pub(super) fn begin_table(html: &mut Html, caption: &'static str, head: &[&'static str]) {
    html.tag("div", &[("class", &"scroll"), ("role", &"region"), ("tabindex", &"0"), ("aria-label", &caption)]);
    html.raw("<table><caption class=\"seen-by-readers\">").raw(caption).raw("</caption><thead><tr>");
    for head in head {
        html.raw("<th scope=\"col\">").raw(head).raw("</th>");
    }
    html.raw("</tr></thead><tbody>");
}

pub(super) fn link<'h>(html: &'h mut Html, label: &str) -> &'h mut Html {
    html.tag("a", &[("href", &page_of(label))]).text(label).raw("</a>")
}

pub(super) fn chip(html: &mut Html, stage: Stage) {
    html.tag("span", &[("class", &format_args!("chip {}", class_of(stage)))]).raw("<span aria-hidden=\"true\">");
    html.raw(stage.sign()).raw("</span> ").raw(stage.word()).raw("</span>");
}

pub(super) fn class_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Failed => "bad",
        Stage::Waits => "care",
        Stage::Works | Stage::Queued => "work",
        Stage::Done => "good",
        Stage::Left | Stage::Rests => "rest",
    }
}

/// Where something stands, in full.
pub(super) fn stand(html: &mut Html, stand: &Stand, now: Timestamp) {
    chip(html, stand.stage);
    if let Some(on) = stand.on {
        html.raw(" for ").text(on);
    }
    if !stand.text.is_empty() {
        html.raw(" – ").text(&stand.text);
    }
    if stand.stage != Stage::Rests {
        html.raw(" <span class=\"quiet\">").text(distance(now, stand.since)).raw("</span>");
    }
}
