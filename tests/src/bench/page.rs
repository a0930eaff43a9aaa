//! Writes figures down: tables as Markdown, curves as SVG, the short form for the project's README.
//!
//! Pure: the same [`Figures`] give the same pages, which is how `tests/tests/figures.rs` knows that nobody has typed one.

use std::fmt::Write as _;

use super::{
    Curves, Figures, Made, Peers,
    curves::Point,
    peer::ALL,
    run::{Cost, PHASE, Row},
    world::HostKind,
};

/// Where the short form stands in the project's README.
pub const BEGIN: &str = "<!-- figures: written by tests/bench -->";
/// Where it ends.
pub const END: &str = "<!-- end of figures -->";

/// A figure as people read it: three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn ratio(a: f64, b: f64) -> String {
    let ratio = a / b;
    if ratio.is_finite() { number(ratio) } else { "–".to_owned() }
}

fn cost<'a>(rows: &'a [Row], of: &Row, is: impl Fn(&Row) -> bool) -> Option<&'a Cost> {
    let same = |row: &&Row| row.host == of.host && row.zones == of.zones && row.names == of.names && is(row);
    rows.iter().find(same).and_then(|row| row.cost.as_ref().ok())
}

fn is_floor(row: &Row) -> bool {
    row.tool.starts_with("floor")
}

/// What of a run is DNS: the wall of those who do nothing else and of our part alone, else what the server logged. For our whole run
/// the part alone is the better figure, which has the check in it.
fn dns_part(row: &Row) -> Option<f64> {
    let own = row.cost.as_ref().ok()?;
    match row.tool.as_str() {
        "dcv" => None,
        PHASE => Some(own.wall),
        _ if is_floor(row) => Some(own.wall),
        _ => own.count.dns_phase,
    }
}

/// What was aimed at, and what came of it.
fn targets(all: &Peers) -> String {
    let rows = || all.rows.iter().filter(|row| row.host == HostKind::Bind && row.zones == 1);
    let find = |tool: &str, names: usize| rows().find(|row| row.tool == tool && row.names == names);
    let part = |tool: &str, names: usize| find(tool, names).and_then(dns_part);
    let mut text = String::from("| aimed at, one zone on BIND | measured | |\n|---|---|---|\n");
    let mut line = |aim: &str, measured: Option<(String, bool)>| {
        let (measured, reached) = measured.unwrap_or_else(|| ("not measured".to_owned(), false));
        let _ = writeln!(text, "| {aim} | {measured} | {} |", if reached { "reached" } else { "**not reached**" });
    };
    let floor = rows().find(|row| is_floor(row) && row.names == 100).and_then(dns_part);
    let over_floor = part(PHASE, 100).zip(floor).map(|(ours, floor)| ours / floor);
    line(
        "DNS part of 100 names within 2 times the floor",
        over_floor.map(|r| (format!("{} times; the floor starts two processes, ours none", number(r)), r <= 2.0)),
    );
    for (tool, least) in [("certbot", 10.0), ("lego", 50.0)] {
        let both = |names: &usize| Some((*names, part(tool, *names)? / part(PHASE, *names)?));
        let most = [100, 250, 10].iter().find_map(both);
        let of_it = if tool == "lego" { "; its waits for the CA are within" } else { "" };
        let aim = format!("DNS part at least {least} times as fast as that of {tool}");
        line(&aim, most.map(|(names, r)| (format!("{} times ({names} names{of_it})", number(r)), r >= least)));
    }
    let whole = find("dcv", 100).and_then(|row| row.cost.as_ref().ok());
    line(
        "100 names from order to files in 0.5 s",
        whole.map(|own| (format!("{} s", number(own.wall)), own.wall < 0.5)),
    );
    let ours = all.kills.iter().filter(|one| one.tool == "dcv");
    let (runs, left) = ours.fold((0, 0), |sum, one| (sum.0 + one.struck, sum.1 + one.left_after_going_on));
    let struck = (runs > 0).then(|| (format!("{left} after {runs} stopped runs"), left == 0));
    line("no record left after a run is stopped and continued", struck);
    text
}

fn table(rows: &[Row], host: HostKind, zones: usize) -> String {
    let (name, changes) = host.names();
    let places = if zones == 1 { "one zone".to_owned() } else { format!("{zones} zones") };
    let mut text = format!(
        "### {name}, {places}\n\n| names | tool | rounds | wall s | ÷ floor | ÷ dcv | CPU s | RSS MiB | {changes} | DNS queries | calls \
         of the CA | DNS part s |\n|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for row in rows.iter().filter(|row| row.host == host && row.zones == zones) {
        let (floor, ours) = (cost(rows, row, is_floor), cost(rows, row, |row| row.tool == "dcv"));
        let _ = match &row.cost {
            Ok(own) => {
                let of = |other: Option<&Cost>| other.map_or("–".to_owned(), |other| ratio(own.wall, other.wall));
                let process = |value: f64| if own.cpu + own.rss_mib > 0.0 { number(value) } else { "–".to_owned() };
                writeln!(
                    text,
                    "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                    row.names,
                    row.tool,
                    row.rounds,
                    number(own.wall),
                    of(floor),
                    of(ours),
                    process(own.cpu),
                    process(own.rss_mib),
                    own.count.changes,
                    own.count.queries,
                    own.count.ca_calls,
                    dns_part(row).map_or("–".to_owned(), number),
                )
            }
            Err(why) => {
                writeln!(text, "| {} | {} | {} | {} | | | | | | | | |", row.names, row.tool, row.rounds, cell(why))
            }
        };
    }
    text.push('\n');
    text
}

/// Text that does not end a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn made(made: &Made) -> String {
    format!(
        "Measured on {} at commit {} ({}). {}. Load average {} at the beginning and {} at the end{}.\n\n",
        made.date, made.commit, made.profile, made.machine, made.load.0, made.load.1, made.note
    )
}

/// The tables of everybody.
pub fn of_peers(all: &Peers) -> String {
    let mut text = format!("## Side by side\n\n{}", made(&all.made));
    let _ = writeln!(text, "Versions: {}.\n\n{}", all.versions.join(", "), targets(all));
    text.push_str(
        "What differs, and has to be known before a ratio is quoted:\n\n\
         - **Not the same CA.** The ACME clients speak to Pebble with all its waits and its refused nonces off; dcv speaks to our sandbox of \
         CertCentral with no delay and without its schedule of looks. ACME takes about two calls for each name by design, CertCentral five \
         in all. Both look the proofs up in the same DNS. Whole runs therefore compare what a user waits for, not how well a program is written.\n\
         - **Not the same promise.** ACME clients register an account in each run and look for no order that may have got lost; dcv writes a \
         journal to disk before and after each step and checks every name server before it asks the CA. certbot does not look at all.\n\
         - **Sleeps are at the lowest that each tool offers**; with their defaults certbot sleeps 60 s more on BIND, and lego 60 s between \
         any two names.\n\
         - **DNS part**: of a tool, by BIND's log, from the first change to the last addition and from the first removal to the last, so \
         without looking zones up before the first change, and without any check of visibility after the last; where a tool proves one name after the \
         other (lego), its waits for the CA are within. Of the floor and of dcv's part alone it is the wall, from nothing to done, with finding the zones and the check at \
         every name server. The floor starts two processes for it and our part none, which on a loaded machine is most of the floor.\n\
         - CPU is of the tool and all that it starts, without servers; RSS is of the biggest process. Counts are of the middle round. DNS \
         queries are the tool's and its resolver's; the CA's are not counted.\n\n",
    );
    for peer in ALL {
        let _ = writeln!(text, "- {}: {}.", peer.name, peer.what);
    }
    text.push('\n');
    let mut done: Vec<(HostKind, usize)> = Vec::new();
    for row in &all.rows {
        if !done.contains(&(row.host, row.zones)) {
            done.push((row.host, row.zones));
            text.push_str(&table(&all.rows, row.host, row.zones));
        }
    }
    text.push_str("![Wall time by names](peers.svg)\n\n");
    text.push_str(
        "### Stopped in the middle\n\nRuns of three names in one zone on BIND, stopped at a random moment, then continued in the tool's own \
         way: `dcv resume --all`, and the same command again for the others. Ctrl-C goes to all processes of the run, TERM and KILL to \
         the first.\n\n| tool | signal | runs | struck | records left | and after going on | going on succeeded |\n|---|---|--:|--:|--:|--:|--:|\n",
    );
    for one in &all.kills {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            one.tool, one.signal, one.rounds, one.struck, one.left, one.left_after_going_on, one.succeeded
        );
    }
    text.push_str(
        "\n(*Struck*: still running when the signal came.)\n\n### Two runs at once for one name\n\nEach from a folder and with a journal of \
         its own, as on two machines.\n\n| tool | pairs | runs that succeeded | wall s | records left |\n|---|--:|--:|--:|--:|\n",
    );
    for one in &all.races {
        let _ = writeln!(
            text,
            "| {} | {} | {} of {} | {} | {} |",
            one.tool,
            one.rounds,
            one.succeeded,
            one.rounds * 2,
            number(one.wall),
            one.left
        );
    }
    text.push_str(
        "\n### One of two name servers never answers\n\nThree names.\n\n| tool | runs | succeeded | wall s | what it says of that \
         server |\n|---|--:|--:|--:|---|\n",
    );
    for one in &all.dead {
        let said =
            if one.said.is_empty() { "nothing".to_owned() } else { format!("`{}`", cell(&one.said).replace('`', "'")) };
        let _ = writeln!(text, "| {} | {} | {} | {} | {said} |", one.tool, one.rounds, one.succeeded, number(one.wall));
    }
    text.push('\n');
    text
}

fn points(text: &mut String, head: &str, points: &[Point]) {
    let _ = writeln!(
        text,
        "| {head} | wall s | ms each | CPU s | RSS MiB | UPDATEs | DNS queries | calls of the CA | for each | refused (429) |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    );
    for point in points {
        let _ = match &point.cost {
            Ok(own) => writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                point.size,
                number(own.wall),
                number(own.wall * 1000.0 / float(point.size)),
                number(own.cpu),
                number(own.rss_mib),
                own.count.changes,
                own.count.queries,
                own.count.ca_calls,
                number(float(own.count.ca_calls) / float(point.size)),
                own.count.too_many
            ),
            Err(why) => writeln!(text, "| {} | {} | | | | | | | | |", point.size, cell(why)),
        };
    }
    text.push('\n');
}

fn curves(all: &Curves) -> String {
    let mut text = format!("## How dcv grows\n\n{}", made(&all.made));
    text.push_str(
        "On BIND, one zone, every name proved by itself. Sandbox, BIND and dcv share the machine, and the wall has all of them in it.\n\n\
         ### Names in one order\n\nThe program `dcv issue`; one run each.\n\n",
    );
    points(&mut text, "names", &all.names);
    text.push_str("![Names in one order](names.svg)\n\n### Orders of one name, all at once in one process\n\nThe library, `Dcv::issue`, with its journal on disk; one run each. First without limits of calls at the CA:\n\n");
    points(&mut text, "orders", &all.orders);
    text.push_str("With the documented limits (100 calls in 5 s, 1000 in 180 s), which dcv keeps to by itself:\n\n");
    points(&mut text, "orders", &all.orders_limited);
    text.push_str("![Orders in one process](orders.svg)\n\n");
    text.push_str(
        "An order that is proved by itself cannot do with fewer than five calls: the order, its random value, the check, the order's \
         state, the certificate.\n\n### Orders that wait for people, in one keeper\n\n`dcv run` with so many certificates, all ordered and \
         waiting for an approver, started again after it was killed. Start: until it has asked which orders have changed. Resumed: from \
         the same moment until the files are there of one that was approved while nothing ran. Idle: nothing happens for 45 s; a tick \
         is 15 s. Approved: from the approval of one of them to its files.\n\n\
         | orders | start s | calls to start | resumed s | RSS MiB | peak MiB | idle CPU % | calls in a tick | approved s |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for one in &all.kept {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            one.orders,
            number(one.start),
            one.calls_to_start,
            number(one.resumed),
            number(one.rss_mib),
            number(one.peak_mib),
            number(one.idle_cpu * 100.0),
            number(one.calls_per_tick),
            number(one.approved)
        );
    }
    text.push_str("\n### Plugins\n\n");
    let _ = writeln!(
        text,
        "One call of a plugin that only answers, median of {}: {} µs in this process, {} µs in a process of its own.\n",
        all.plugin.calls,
        number(all.plugin.loaded * 1e6),
        number(all.plugin.isolated * 1e6)
    );
    text
}

/// The short form: what README says of speed, with the marks around it.
pub fn short(figures: &Figures) -> String {
    let Some(peers) = &figures.peers else { return format!("{BEGIN}\n{END}") };
    let (zones, names) = (1, 100);
    let at = |row: &&Row| row.host == HostKind::Bind && row.zones == zones && row.names == names;
    let mut text = format!(
        "{BEGIN}\n\n{names} names in one zone on BIND, each proved by itself; from the order to the files; medians ({}):\n\n| | wall s | UPDATEs | DNS queries | calls of the CA | DNS part s |\n|---|--:|--:|--:|--:|--:|\n",
        peers.made.date
    );
    for row in peers.rows.iter().filter(at) {
        let _ = match &row.cost {
            Ok(own) => writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                row.tool,
                number(own.wall),
                own.count.changes,
                own.count.queries,
                own.count.ca_calls,
                dns_part(row).map_or("–".to_owned(), number)
            ),
            Err(why) => writeln!(text, "| {} | {} | | | | |", row.tool, cell(why)),
        };
    }
    let mut tools: Vec<&str> = peers.kills.iter().map(|one| one.tool.as_str()).collect();
    tools.dedup();
    let left = |tool: &&str| {
        let of = peers.kills.iter().filter(|one| one.tool == *tool);
        let (runs, left) = of.fold((0, 0), |sum, one| (sum.0 + one.struck, sum.1 + one.left_after_going_on));
        format!("{tool} {left} ({runs} runs)")
    };
    let left: Vec<String> = tools.iter().map(left).collect();
    let _ = write!(
        text,
        "\nRecords left after Ctrl-C, TERM or KILL at a random moment and going on in the tool's own way: {}.\n\nThe ACME clients speak to Pebble and dcv to our \
         sandbox, all waits at the lowest that each offers. Load average {} to {}{}. [What differs, all tables, and how dcv grows](tests/figures/README.md).\n\n{END}",
        left.join(", "),
        peers.made.load.0,
        peers.made.load.1,
        peers.made.note,
    );
    text
}

/// All pages: their names below `tests/figures`, and what they say.
pub fn pages(figures: &Figures) -> Vec<(&'static str, String)> {
    let readme = format!(
        "# Figures\n\nWritten by `tests/bench` from `figures.json`; nothing is typed by hand.\n\n{}{}",
        figures.peers.as_ref().map(of_peers).unwrap_or_default(),
        figures.curves.as_ref().map(curves).unwrap_or_default()
    );
    let tools = ALL.iter().map(|peer| {
        let rows = figures.peers.iter().flat_map(|peers| &peers.rows);
        let own = rows.filter(|row| row.tool == peer.name && row.host == HostKind::Bind && row.zones == 1);
        let walls = own.filter_map(|row| Some((float(row.names), row.cost.as_ref().ok()?.wall))).collect();
        (peer.name, walls)
    });
    let walls: Vec<(&str, Curve)> = tools.filter(|(_, walls): &(_, Curve)| !walls.is_empty()).collect();
    let growth = |series: &[(&'static str, &[Point])]| {
        let of = |field: fn(&Cost) -> f64| -> Vec<(&str, Curve)> {
            let curve = |points: &[Point]| -> Curve {
                points.iter().filter_map(|p| Some((float(p.size), field(p.cost.as_ref().ok()?)))).collect()
            };
            series.iter().map(|(name, points)| (*name, curve(points))).collect()
        };
        svg(&[
            ("wall, s", of(|c| c.wall)),
            ("calls of the CA", of(|c| float(c.count.ca_calls))),
            ("RSS, MiB", of(|c| c.rss_mib)),
        ])
    };
    let mut pages = vec![("README.md", readme.trim_end().to_owned() + "\n")];
    if figures.peers.is_some() {
        pages.push(("peers.svg", svg(&[("wall, s, by names (BIND, one zone)", walls)])));
    }
    if let Some(all) = &figures.curves {
        pages.push(("names.svg", growth(&[("dcv issue", &all.names)])));
        pages.push(("orders.svg", growth(&[("no limits", &all.orders), ("documented limits", &all.orders_limited)])));
    }
    pages
}

type Curve = Vec<(f64, f64)>;

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn float(count: usize) -> f64 {
    count as f64
}

const COLORS: [&str; 7] = ["#1b6ca8", "#c0392b", "#27864a", "#8e44ad", "#b9770e", "#117a7a", "#5d6d7e"];

/// Panels beside each other, both axes logarithmic, a line for each power of ten.
fn svg(panels: &[(&str, Vec<(&str, Curve)>)]) -> String {
    const WIDE: f64 = 220.0;
    const HIGH: f64 = 180.0;
    const STEP: f64 = 310.0;
    let legend = panels.iter().map(|panel| panel.1.len()).max().unwrap_or(0);
    let (width, height) = (STEP * float(panels.len()), HIGH + 80.0 + 16.0 * float(legend));
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (n, (title, series)) in panels.iter().enumerate() {
        let (left, top) = (STEP * float(n) + 55.0, 36.0);
        let all = || series.iter().flat_map(|(_, curve)| curve.iter().copied());
        let (xs, ys) = (Decades::of(all().map(|(x, _)| x)), Decades::of(all().map(|(_, y)| y)));
        let (x, y) = (|v: f64| left + WIDE * xs.place(v), |v: f64| top + HIGH * (1.0 - ys.place(v)));
        let _ = writeln!(text, "<text x=\"{left:.0}\" y=\"20\" font-weight=\"bold\">{title}</text>");
        for (value, label) in xs.ticks() {
            let _ = writeln!(
                text,
                "<path d=\"M{x:.1} {top}v{HIGH}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                top + HIGH + 15.0,
                x = x(value)
            );
        }
        for (value, label) in ys.ticks() {
            let _ = writeln!(
                text,
                "<path d=\"M{left} {y:.1}h{WIDE}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                left - 6.0,
                y(value) + 4.0,
                y = y(value)
            );
        }
        for ((k, (name, curve)), color) in series.iter().enumerate().zip(COLORS) {
            let line: Vec<String> = curve.iter().map(|&(a, b)| format!("{:.1},{:.1}", x(a), y(b))).collect();
            let _ = writeln!(
                text,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>",
                line.join(" ")
            );
            for &(a, b) in curve {
                let _ = write!(text, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\" fill=\"{color}\"/>", x(a), y(b));
            }
            let _ = writeln!(
                text,
                "\n<text x=\"{left:.0}\" y=\"{:.0}\" fill=\"{color}\">{name}</text>",
                top + HIGH + 36.0 + 16.0 * float(k)
            );
        }
    }
    text + "</svg>\n"
}

/// A logarithmic axis over whole powers of ten.
struct Decades {
    first: i32,
    last: i32,
}

impl Decades {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.filter(|v| *v > 0.0).fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)));
        if low > high {
            return Self { first: 0, last: 1 };
        }
        #[expect(clippy::cast_possible_truncation, reason = "exponents of measured values")]
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        Self { first, last: last.max(first + 1) }
    }

    /// From 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let at = (value.max(f64::MIN_POSITIVE).log10() - f64::from(self.first)) / f64::from(self.last - self.first);
        at.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> impl Iterator<Item = (f64, String)> {
        (self.first..=self.last).map(|power| {
            let value = 10f64.powi(power);
            (
                value,
                if power < 0 { format!("{value:.*}", power.unsigned_abs() as usize) } else { format!("{value:.0}") },
            )
        })
    }
}
