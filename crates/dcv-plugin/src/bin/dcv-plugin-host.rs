//! The host process of an isolated plugin: `dcv-plugin-host LIBRARY [SHA256]`. Programs that have a `main` of their own call
//! [`dcv_plugin::serve`] from it instead, as `dcv plugin host` does.

fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(library) = arguments.next() else {
        eprintln!("dcv-plugin-host LIBRARY [SHA256]");
        return 2.into();
    };
    let sum = arguments.next().map(|sum| sum.to_string_lossy().into_owned());
    match dcv_plugin::serve(library.as_ref(), sum.as_deref()) {
        Ok(()) => 0.into(),
        Err(error) => {
            eprintln!("dcv-plugin-host: {error}");
            1.into()
        }
    }
}
