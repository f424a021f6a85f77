//! A service on a port of its own, and a client that behaves like a browser without JavaScript.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running service. It stops when this is dropped.
pub struct TestServer {
    addr: SocketAddr,
    /// Keeps cookies, and doesn't follow redirects: tests look at them.
    pub client: reqwest::Client,
    task: JoinHandle<()>,
}

impl TestServer {
    /// Serves `router` on a free port of this machine.
    pub async fn serve(router: Router) -> Self {
        let (listener, addr) = Self::listener().await;
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move {
            axum::serve(listener, service).await.expect("the test's server serves");
        });
        Self {
            addr,
            client: Self::new_client(),
            task,
        }
    }

    /// Runs a service that brings its own way of serving, such as a production `run(listener, ...)`.
    pub async fn run<F, Fut>(start: F) -> Self
    where
        F: FnOnce(TcpListener) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let (listener, addr) = Self::listener().await;
        let task = tokio::spawn(start(listener));
        Self {
            addr,
            client: Self::new_client(),
            task,
        }
    }

    /// A client without any cookies yet: another visitor.
    pub fn new_client() -> reqwest::Client {
        reqwest::Client::builder()
            .cookie_store(true)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .expect("a client")
    }

    /// The address that it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// What it says of its readiness, and why.
    pub async fn readiness(&self) -> (reqwest::StatusCode, String) {
        let answer = self.client.get(self.url("/readyz")).send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("a text"))
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("the port");
        (listener, addr)
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::SET_COOKIE;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::get;

    use super::*;

    #[tokio::test]
    async fn the_client_keeps_cookies_and_each_visitor_has_their_own() {
        let router = Router::new()
            .route(
                "/enter",
                get(|| async { ([(SET_COOKIE, "name=value; Path=/")], StatusCode::SEE_OTHER) }),
            )
            .route(
                "/cookie",
                get(|headers: HeaderMap| async move {
                    headers
                        .get("cookie")
                        .and_then(|value| value.to_str().ok())
                        .unwrap_or_default()
                        .to_owned()
                }),
            );
        let server = TestServer::serve(router).await;
        let entered = server.client.get(server.url("/enter")).send().await.unwrap();
        assert_eq!(entered.status().as_u16(), 303);
        let cookie = server
            .client
            .get(server.url("/cookie"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert_eq!(cookie, "name=value");
        let other = TestServer::new_client()
            .get(server.url("/cookie"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert_eq!(other, "");
    }
}
