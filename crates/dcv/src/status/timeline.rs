//! The time line: every life as a bar, beside now, drawn as SVG by the server. It says nothing that the table below it does not.

use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use super::{Kept, html::Html};

/// Beyond this many bars nobody sees anything; those that end first are drawn.
const MOST_BARS: usize = 40;
/// How far the line reaches at most, into the past and into the future.
const PAST: SignedDuration = SignedDuration::from_hours(90 * 24);
const FUTURE: SignedDuration = SignedDuration::from_hours(400 * 24);
/// What is shown of either side at least, so that a single life has a surrounding.
const AROUND: SignedDuration = SignedDuration::from_hours(14 * 24);

const WIDTH: f64 = 1000.0;
/// Where bars begin; the labels stand left of it.
const LEFT: f64 = 190.0;
/// Where bars end; what is left stands right of it.
const RIGHT: f64 = 905.0;
const ROW: f64 = 30.0;
const TOP: f64 = 34.0;
/// About as many characters as fit left of the bars.
const LABEL: usize = 24;

/// A stretch of time laid along the width.
struct Scale {
    from: Timestamp,
    to: Timestamp,
}

impl Scale {
    fn x(&self, at: Timestamp) -> f64 {
        let whole = self.to.duration_since(self.from).as_secs_f64().max(1.0);
        LEFT + (at.duration_since(self.from).as_secs_f64() / whole).clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    /// The first days of months within.
    fn months(&self) -> Vec<Timestamp> {
        let first = self.from.to_zoned_datetime(TimeZone::UTC).date().first_of_month();
        let months = (1..).map_while(|n| first.checked_add(jiff::Span::new().months(n)).ok());
        let begin = |date: Date| date.to_zoned_datetime(TimeZone::UTC).ok().map(|at| at.timestamp());
        let months: Vec<Timestamp> = months.map_while(begin).take_while(|at| *at < self.to).collect();
        // A name for each would not fit.
        let every = months.len().div_ceil(9).max(1);
        months.into_iter().step_by(every).collect()
    }
}

/// Draws those of `kept` whose end is known.
pub(super) fn draw(html: &mut Html, kept: &[(&String, &Kept)], now: Timestamp) {
    let mut lives: Vec<(&String, &Kept, Timestamp)> =
        kept.iter().filter_map(|(label, kept)| Some((*label, *kept, kept.task.ends?))).collect();
    lives.sort_by_key(|(.., ends)| *ends);
    let left_out = lives.len().saturating_sub(MOST_BARS);
    lives.truncate(MOST_BARS);
    if lives.is_empty() {
        html.raw("<p class=\"quiet\">Nothing is there yet whose end could be drawn.</p>");
        return;
    }
    let begins = lives.iter().filter_map(|(_, kept, _)| Some(kept.life?.0)).min().unwrap_or(now);
    let ends = lives.iter().map(|(.., ends)| *ends).max().unwrap_or(now);
    let scale = Scale {
        from: begins.clamp(now - PAST, now - AROUND),
        to: (ends + AROUND / 2).clamp(now + AROUND, now + FUTURE),
    };
    #[expect(clippy::cast_precision_loss, reason = "at most forty")]
    let height = TOP + ROW * lives.len() as f64 + 6.0;
    html.raw("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Time line of expiry\">");
    let view = format!("0 0 {WIDTH} {height}");
    html.tag("svg", &[("viewBox", &view), ("role", &"img"), ("aria-labelledby", &"line-title line-text")]);
    html.raw("<title id=\"line-title\">Lives of certificates and validations</title><desc id=\"line-text\">");
    html.text(format_args!("{} bars, the first of which ends on ", lives.len()));
    html.text(lives[0].2.strftime("%Y-%m-%d"));
    html.raw(
        ". The table below says the same in words.</desc>\
         <defs><pattern id=\"hatch\" width=\"7\" height=\"7\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
         <rect class=\"hatch-ground\" width=\"7\" height=\"7\"/><rect class=\"hatch-line\" width=\"3\" height=\"7\"/></pattern></defs>",
    );
    for month in scale.months() {
        let x = one(scale.x(month));
        html.tag("line", &[("class", &"month"), ("x1", &x), ("x2", &x), ("y1", &"22"), ("y2", &height)]);
        html.raw("</line>");
        // Its name would stand below the flag of now.
        if (scale.x(month) - scale.x(now)).abs() < 48.0 {
            continue;
        }
        html.tag("text", &[("class", &"axis"), ("x", &x), ("y", &"14"), ("text-anchor", &"middle")]);
        let format = if month.to_zoned_datetime(TimeZone::UTC).month() == 1 { "%b %Y" } else { "%b" };
        html.text(month.strftime(format)).raw("</text>");
    }
    for (row, (label, kept, ends)) in lives.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "at most forty")]
        let y = TOP + ROW * row as f64;
        bar(html, &scale, y, (label, kept, *ends), now);
    }
    let x = scale.x(now);
    html.tag("line", &[("class", &"now"), ("x1", &one(x)), ("x2", &one(x)), ("y1", &"22"), ("y2", &height)]);
    html.raw("</line>").tag("rect", &[("class", &"now-flag"), ("x", &one(x - 19.0)), ("y", &"1"), ("rx", &"9")]);
    html.raw("</rect>")
        .tag("text", &[("class", &"now-text"), ("x", &one(x)), ("y", &"14"), ("text-anchor", &"middle")]);
    html.raw("now</text></svg></div>");
    html.raw(
        "<p class=\"key\"><span class=\"swatch lived\"></span> passed <span class=\"swatch ahead\"></span> ahead \
         <span class=\"swatch hatched\"></span> due or over <span class=\"tick\"></span> next act</p>",
    );
    if left_out > 0 {
        html.raw("<p class=\"quiet\">").text(left_out).raw(" that end later are not drawn; the table has them.</p>");
    }
}

fn bar(html: &mut Html, scale: &Scale, y: f64, (label, kept, ends): (&str, &Kept, Timestamp), now: Timestamp) {
    let begin = kept.life.map_or(now, |(begin, _)| begin).max(scale.from);
    let (from, today, to) = (scale.x(begin), scale.x(now.min(ends)), scale.x(ends));
    let urgent = kept.task.is_due(now) || ends <= now;
    html.tag("text", &[("class", &"label"), ("x", &"0"), ("y", &one(y + 18.0))]);
    html.text(shortened(label)).raw("<title>").text(label).raw("</title></text>");
    let mut piece = |class: &str, from: f64, to: f64| {
        if to > from {
            let (x, width) = (one(from), one((to - from).max(2.0)));
            html.tag(
                "rect",
                &[
                    ("class", &class),
                    ("x", &x),
                    ("y", &one(y + 7.0)),
                    ("width", &width),
                    ("height", &"14"),
                    ("rx", &"4"),
                ],
            );
            html.raw("</rect>");
        }
    };
    piece("ahead", from, to);
    piece("lived", from, today);
    if urgent {
        piece("urgent", today.min(to - 6.0), to);
    }
    if kept.task.at > now && kept.task.at < ends {
        let x = one(scale.x(kept.task.at));
        let (top, bottom) = (one(y + 4.0), one(y + 24.0));
        html.tag("line", &[("class", &"act"), ("x1", &x), ("x2", &x), ("y1", &top), ("y2", &bottom)]).raw("</line>");
    }
    html.tag("text", &[("class", &"left"), ("x", &one(RIGHT + 12.0)), ("y", &one(y + 18.0))]);
    let days = ends.duration_since(now).as_secs().div_euclid(86_400);
    if ends <= now {
        html.raw("over");
    } else {
        html.text(format_args!("{days} d"));
    }
    if urgent && ends > now {
        html.raw(" · due");
    }
    html.raw("</text>");
}

fn shortened(label: &str) -> String {
    let mut chars = label.chars();
    let start: String = chars.by_ref().take(LABEL).collect();
    if chars.next().is_some() { format!("{}…", start.chars().take(LABEL - 1).collect::<String>()) } else { start }
}

/// A coordinate: a tenth of a unit is finer than anybody sees.
fn one(number: f64) -> String {
    format!("{number:.1}")
}
