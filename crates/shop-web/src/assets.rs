//! Style, scripts and fonts: part of the program, under names that change with their content.

use std::borrow::Cow;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, header};
use sha2::{Digest as _, Sha256};

use crate::photo;
use crate::problem::Problem;

const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const FOR_A_DAY: HeaderValue = HeaderValue::from_static("public, max-age=86400");

/// Fonts come first: the style names them.
static FILES: [(&str, &[u8]); 8] = [
    ("serif.woff2", include_bytes!("../assets/fonts/serif.woff2")),
    (
        "serif-italic.woff2",
        include_bytes!("../assets/fonts/serif-italic.woff2"),
    ),
    ("sans.woff2", include_bytes!("../assets/fonts/sans.woff2")),
    ("sans-bold.woff2", include_bytes!("../assets/fonts/sans-bold.woff2")),
    ("favicon.svg", include_bytes!("../assets/favicon.svg")),
    ("shop.css", include_bytes!("../assets/shop.css")),
    ("shop.js", include_bytes!("../assets/shop.js")),
    ("fallback.js", include_bytes!("../assets/fallback.js")),
];

struct Asset {
    name: &'static str,
    /// `/assets/{stem}.{hash}.{extension}`
    path: String,
    content_type: HeaderValue,
    bytes: Cow<'static, [u8]>,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let mut assets: Vec<Asset> = Vec::with_capacity(FILES.len());
    for (name, bytes) in FILES {
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let bytes = if extension == "css" {
            complete_style(bytes, &assets)
        } else {
            Cow::Borrowed(bytes)
        };
        let hash = hex::encode(&Sha256::digest(&bytes)[..8]);
        assets.push(Asset {
            name,
            path: format!("/assets/{stem}.{hash}.{extension}"),
            content_type: content_type(extension),
            bytes,
        });
    }
    assets
});

/// The path of an asset, with the hash of its content in it. An unknown name gives a path that leads nowhere.
#[must_use]
pub fn path(name: &str) -> &'static str {
    ASSETS
        .iter()
        .find(|asset| asset.name == name)
        .map_or("/assets/unknown", |asset| &asset.path)
}

/// Serves the assets, and the two files that browsers and robots ask for by themselves.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/assets/{file}", get(show))
        .route("/favicon.ico", get(favicon))
        .route(
            "/robots.txt",
            get(async || {
                (
                    [(header::CACHE_CONTROL, FOR_A_DAY)],
                    "User-agent: *\nDisallow: /admin/\nDisallow: /cart\nDisallow: /checkout\n",
                )
            }),
        )
}

async fn show(Path(file): Path<String>) -> Response {
    let wanted = ASSETS
        .iter()
        .find(|asset| asset.path.strip_prefix("/assets/") == Some(file.as_str()));
    wanted.map_or_else(
        || Problem::not_found().into_response(),
        |asset| respond(asset, IMMUTABLE),
    )
}

async fn favicon() -> Response {
    let icon = ASSETS.iter().find(|asset| asset.name == "favicon.svg");
    icon.map_or_else(
        || Problem::not_found().into_response(),
        |asset| respond(asset, FOR_A_DAY),
    )
}

fn respond(asset: &'static Asset, cache_control: HeaderValue) -> Response {
    let headers = [
        (header::CONTENT_TYPE, asset.content_type.clone()),
        (header::CACHE_CONTROL, cache_control),
        // Fonts are asked for from the edge, which is another origin than the page's.
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
        (
            header::HeaderName::from_static("timing-allow-origin"),
            HeaderValue::from_static("*"),
        ),
    ];
    (headers, &*asset.bytes).into_response()
}

/// The style names fonts by plain names, relative to itself; and each proportion that a picture may have gets a class, because the
/// content security policy allows no style in a page.
fn complete_style(css: &'static [u8], assets: &[Asset]) -> Cow<'static, [u8]> {
    let Ok(text) = std::str::from_utf8(css) else {
        return Cow::Borrowed(css);
    };
    let mut text = text.to_owned();
    for asset in assets {
        let hashed = asset.path.rsplit('/').next().unwrap_or_default();
        text = text.replace(&format!("url(\"{}\")", asset.name), &format!("url(\"{hashed}\")"));
    }
    for hundredths in photo::RATIO_MIN..=photo::RATIO_MAX {
        text.push_str(&format!(
            ".r{hundredths}{{--r:{}.{:02}}}",
            hundredths / 100,
            hundredths % 100
        ));
    }
    Cow::Owned(text.into_bytes())
}

fn content_type(extension: &str) -> HeaderValue {
    HeaderValue::from_static(match extension {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_style_names_fonts_by_their_hashed_names_only() {
        let css = ASSETS
            .iter()
            .find(|asset| asset.name == "shop.css")
            .expect("there is a style");
        let text = std::str::from_utf8(&css.bytes).expect("the style is text");
        assert!(!text.contains("url(\"serif.woff2\")"));
        for font in ["serif.woff2", "serif-italic.woff2", "sans.woff2", "sans-bold.woff2"] {
            let hashed = path(font).strip_prefix("/assets/").expect("assets lie in /assets");
            assert!(text.contains(hashed), "{font}");
        }
    }

    #[test]
    fn every_asset_has_a_name_of_its_own() {
        let mut paths: Vec<&str> = FILES.iter().map(|(name, _)| path(name)).collect();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!(paths.len(), FILES.len());
        assert!(!paths.contains(&"/assets/unknown"));
    }
}
