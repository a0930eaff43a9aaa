//! `tests/bench` measures by this: `bench` (everything), `bench quick`, `bench curves`. `bench packages` says what is missing,
//! `bench addresses` what loopback needs, `bench pages` writes the pages anew from the figures that there are; `bench orders FILE` is a process that is
//! measured, `bench waiting FILE` one that prepares a measurement; `bench keeper COUNT` measures that alone.

use std::path::Path;

use dcv_tests::bench::{
    self, Mode, curves, keeper,
    world::{self, HostKind},
};

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => bench::measure(Mode::Everything).await,
        ["quick"] => bench::measure(Mode::Quick).await,
        ["curves"] => bench::measure(Mode::Curves).await,
        ["packages"] => println!("{}", bench::missing().join(" ")),
        ["addresses"] => println!("{}", world::ADDRESSES.map(|ip| ip.to_string()).join(" ")),
        ["pages"] => bench::write(&bench::figures().expect("figures; tests/bench measures them")),
        ["orders", file] => curves::place_orders(Path::new(file)).await,
        ["waiting", file] => keeper::place_waiting(Path::new(file)).await,
        ["again", "stopped"] => bench::stop_again().await,
        ["again", "bind", zones] => bench::measure_again(HostKind::Bind, zones.parse().expect("a count")).await,
        ["again", "powerdns", zones] => bench::measure_again(HostKind::PowerDns, zones.parse().expect("a count")).await,
        ["keeper", count] => println!("{:#?}", keeper::kept(count.parse().expect("a count")).await),
        _ => {
            eprintln!("tests/bench [quick|curves|keeper N|again bind|powerdns ZONES|again stopped]");
            std::process::exit(2);
        }
    }
}
