use std::sync::Arc;

use clap::Args;
use sha2::{Digest as _, Sha256};
use shop_db::PositionKey;
use shop_session::Sessions;
use shop_telemetry::startup::SecretFile;

/// What the web layer needs to know.
#[derive(Debug, Clone, Args)]
pub struct WebArgs {
    /// File with the key that signs positions in cookies; the same for all instances.
    #[arg(long, env = "POSITION_KEY_FILE")]
    pub position_key_file: SecretFile,

    /// File with the token that services show each other.
    #[arg(long, env = "INTERNAL_TOKEN_FILE")]
    pub internal_token_file: SecretFile,

    /// Port at which browsers find the edge, on the host that they asked for the page.
    #[arg(long, env = "EDGE_PORT", default_value_t = 8081)]
    pub edge_port: u16,

    /// The same for pages that came over TLS.
    #[arg(long, env = "EDGE_TLS_PORT", default_value_t = 8444)]
    pub edge_tls_port: u16,

    /// Where browsers find the edge, if it is not on the page's host; without a slash at the end.
    #[arg(long, env = "EDGE_BASE_URL", value_parser = parse_base_url)]
    pub edge_base_url: Option<String>,

    /// Name of this instance, if it is not to be found out.
    #[arg(long, env = "INSTANCE")]
    pub instance: Option<String>,
}

/// What every request needs; cheap to clone.
#[derive(Clone)]
pub struct WebState {
    /// Sessions and, through them, carts.
    pub sessions: Sessions,
    /// Signs the positions that browsers carry.
    pub positions: Arc<PositionKey>,
    /// The kind of process: `inventory`, `user`.
    pub service: &'static str,
    /// Which of them this is: `inventory-2`.
    pub instance: Arc<str>,
    pub(crate) internal_token_hash: [u8; 32],
    pub(crate) edge_port: u16,
    pub(crate) edge_tls_port: u16,
    pub(crate) edge_base_url: Option<Arc<str>>,
}

impl WebState {
    /// Prepares the web layer of a service.
    pub async fn new(service: &'static str, args: &WebArgs, sessions: Sessions) -> Self {
        let instance = shop_net::instance::name(args.instance.as_deref(), service).await;
        Self {
            sessions,
            positions: Arc::new(PositionKey::new(args.position_key_file.expose())),
            service,
            instance: instance.into(),
            internal_token_hash: Sha256::digest(args.internal_token_file.expose()).into(),
            edge_port: args.edge_port,
            edge_tls_port: args.edge_tls_port,
            edge_base_url: args.edge_base_url.as_deref().map(Into::into),
        }
    }

    /// Where the browser that asked `scheme://host` finds the edge.
    pub(crate) fn edge_base(&self, scheme: &str, host: &str) -> String {
        match &self.edge_base_url {
            Some(url) => url.to_string(),
            None => {
                let port = if scheme == "https" {
                    self.edge_tls_port
                } else {
                    self.edge_port
                };
                format!("{scheme}://{}:{port}", without_port(host))
            }
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // In [::1] the last colon is part of the address.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn parse_base_url(text: &str) -> Result<String, String> {
    let url = url::Url::parse(text).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("must be an http or https address".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_is_sought_on_the_host_of_the_page() {
        assert_eq!(without_port("shop.example:8080"), "shop.example");
        assert_eq!(without_port("shop.example"), "shop.example");
        assert_eq!(without_port("[::1]:8080"), "[::1]");
        assert_eq!(without_port("[::1]"), "[::1]");
    }

    #[test]
    fn only_http_addresses_are_taken_for_the_edge() {
        assert_eq!(
            parse_base_url("https://cdn.example/").as_deref(),
            Ok("https://cdn.example")
        );
        assert!(parse_base_url("javascript:alert(1)").is_err());
        assert!(parse_base_url("cdn.example").is_err());
    }
}
