//! The webroot provider as a plugin: any provider becomes one by this line.
//! `cargo build -p dcv-example-plugin`, then `dcv plugin check target/debug/libdcv_example_plugin.so`.

dcv_plugin::export_provider!(dcv_webroot::DESCRIPTOR, |config: dcv_webroot::Config| async move {
    dcv_webroot::Webroot::new(config)
});
