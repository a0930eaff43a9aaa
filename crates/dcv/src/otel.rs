//! Traces for OpenTelemetry, with the feature `otel`: one for each run, with a span for each step and each call of a provider.
//!
//! They are sent as OTLP over HTTP to where the usual variables say (`OTEL_EXPORTER_OTLP_ENDPOINT` and the others of the
//! specification); without one nothing is traced. The spans are those of the log. What is sent holds names, orders and runs, and
//! never a value or a key.

#[cfg(feature = "otel")]
mod on {
    use std::time::Duration;

    use async_trait::async_trait;
    use axum::{body::Bytes, http};
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_http::{HttpClient, HttpError, Request, Response};
    use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
    use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
    use tokio::runtime::Handle;
    use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

    /// How long the last spans may take on their way when the program ends.
    const LAST: Duration = Duration::from_secs(5);

    /// Sends what is traced.
    pub(crate) struct Traces(Option<SdkTracerProvider>);

    impl Traces {
        /// Sends what is left.
        pub(crate) fn flush(self) {
            if let Some(Err(error)) = self.0.map(|provider| provider.shutdown_with_timeout(LAST)) {
                tracing::warn!(%error, "the last spans were not sent");
            }
        }
    }

    /// The layer that traces, where somebody wants it.
    pub(crate) fn traces<S>(runtime: &Handle) -> (Option<Box<dyn Layer<S> + Send + Sync>>, Traces)
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let wanted = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
        let disabled = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|text| text.eq_ignore_ascii_case("true"));
        if disabled || wanted.iter().all(|name| std::env::var_os(name).is_none_or(|text| text.is_empty())) {
            return (None, Traces(None));
        }
        let provider = match provider(runtime) {
            Ok(provider) => provider,
            Err(error) => {
                eprintln!("warning: OpenTelemetry is left out: {error}");
                return (None, Traces(None));
            }
        };
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("dcv"));
        // Ours only: what sends spans makes none.
        let ours = Targets::new().with_targets(["dcv", "dcv_core"].map(|name| (name, tracing::Level::INFO)));
        (Some(layer.with_filter(ours).boxed()), Traces(Some(provider)))
    }

    fn provider(runtime: &Handle) -> Result<SdkTracerProvider, Box<dyn std::error::Error>> {
        let client = Http { client: reqwest::Client::builder().build()?, runtime: runtime.clone() };
        let exporter = SpanExporter::builder().with_http().with_http_client(client).with_protocol(Protocol::HttpBinary);
        let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let mut resource = Resource::builder().with_attribute(version);
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("dcv");
        }
        Ok(SdkTracerProvider::builder().with_batch_exporter(exporter.build()?).with_resource(resource.build()).build())
    }

    /// Sends by the one HTTP client of this tree. Spans are sent from a thread without a runtime, so the calls are made on ours.
    #[derive(Debug)]
    struct Http {
        client: reqwest::Client,
        runtime: Handle,
    }

    #[async_trait]
    impl HttpClient for Http {
        async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
            let client = self.client.clone();
            let request = reqwest::Request::try_from(request)?;
            let call = async move {
                let response = client.execute(request).await?.error_for_status()?;
                let (status, headers) = (response.status(), response.headers().clone());
                Ok::<_, reqwest::Error>((status, headers, response.bytes().await?))
            };
            let (status, headers, body) = self.runtime.spawn(call).await??;
            let mut response = http::Response::builder().status(status).body(body)?;
            *response.headers_mut() = headers;
            Ok(response)
        }
    }
}

#[cfg(feature = "otel")]
pub(crate) use on::{Traces, traces};

/// Nothing is traced.
#[cfg(not(feature = "otel"))]
pub(crate) struct Traces;

#[cfg(not(feature = "otel"))]
impl Traces {
    #[expect(clippy::unused_self, reason = "with the feature it is used")]
    pub(crate) fn flush(self) {}
}

#[cfg(not(feature = "otel"))]
pub(crate) fn traces(_: &tokio::runtime::Handle) -> (Option<tracing_subscriber::layer::Identity>, Traces) {
    (None, Traces)
}
