//! Every kind of page with made-up prints, for looking at the style: `cargo run -p shop-web --example gallery`, then
//! <http://127.0.0.1:8090>. Its templates are the reference for the markup that the style expects. Pictures are drawn here; with
//! `GALLERY_PHOTOS=folder`, `folder/{id}.jpg` is shown instead.

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::Parser as _;
use http::{StatusCode, header};
use shop_session::{SessionArgs, Sessions};
use shop_web::extract::Page;
use shop_web::label::WallLabel;
use shop_web::money::Cents;
use shop_web::page::Html;
use shop_web::photo::{Format, Photo, Variant};
use shop_web::problem::Problem;
use shop_web::{WebArgs, WebState, app, assets};
use tokio_util::sync::CancellationToken;

#[derive(clap::Parser)]
struct Args {
    #[command(flatten)]
    web: WebArgs,
}

struct Print {
    id: i64,
    label: WallLabel,
    photo: Photo,
}

fn prints(count: i64) -> Vec<Print> {
    const TITLES: [(&str, &str, &str); 8] = [
        ("Low Water, Evening", "Ines Halloran", "Flow lines, pigment on cotton"),
        ("Quarry No. 4", "Tomas Verhoeven", "Warped strata, four inks"),
        ("Three Rests for Clara", "M. Okafor-Lind", "Subdivision, screen print"),
        (
            "Dusk over Packed Ice",
            "Ines Halloran",
            "Circle packing, archival pigment",
        ),
        ("Letter to a Weaver", "Ruth Amsel", "Twill in two colours"),
        ("An Island That Is Not There", "Piet Osei", "Contour map, ink and sepia"),
        ("Sevenfold", "Ruth Amsel", "Phyllotaxis, torn paper edges"),
        ("Small Hours", "Tomas Verhoeven", "Strange attractor, silver on black"),
    ];
    const SHAPES: [(u32, u32); 5] = [(1350, 1800), (1800, 1200), (1800, 1800), (1440, 1800), (1272, 1800)];
    (1..=count)
        .map(|id| {
            let place = usize::try_from(id - 1).unwrap_or(0);
            let (title, artist, technique) = TITLES[place % TITLES.len()];
            let (width, height) = SHAPES[(place * 7 + place / 3) % SHAPES.len()];
            let variants = [320, 640, 960, 1280, 1800]
                .into_iter()
                .filter(|variant| *variant <= width)
                .flat_map(|variant| {
                    [Format::Webp, Format::Jpeg].map(|format| Variant {
                        width: variant,
                        height: variant * height / width,
                        format,
                    })
                })
                .collect();
            let available = (id * 37) % 50;
            Print {
                id,
                label: WallLabel {
                    title: title.to_owned(),
                    artist: artist.to_owned(),
                    year: 2019 + i32::try_from(id % 6).unwrap_or(0),
                    technique: technique.to_owned(),
                    edition_size: (id % 5 != 0).then_some(50),
                    available: if id == 6 { 0 } else { available.max(1) },
                    price: Cents(9_000 + (id * 1_700) % 42_000),
                },
                photo: Photo {
                    id,
                    version: 1,
                    width,
                    height,
                    placeholder: None,
                    status: if id == 12 { "accepted" } else { "ready" }.to_owned(),
                    variants,
                },
            }
        })
        .collect()
}

macro_rules! page {
    ($name:ident, $file:literal, { $($field:ident: $kind:ty),* }) => {
        #[derive(Template)]
        #[template(path = $file)]
        struct $name { page: Page, $($field: $kind),* }
    };
}

page!(Home, "home.html", { prints: Vec<Print> });
page!(Product, "product.html", { print: Print });
page!(Cart, "cart.html", { prints: Vec<Print>, total: Cents });
page!(Checkout, "checkout.html", { total: Cents });
page!(Order, "order.html", { prints: Vec<Print>, total: Cents });
page!(Orders, "orders.html", {});
page!(Login, "login.html", {});
page!(Admin, "admin.html", { prints: Vec<Print> });
page!(Nothing, "nothing.html", {});

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let secret = std::env::temp_dir().join("gallery-secret");
    std::fs::write(&secret, "not a secret, this is an example\n")?;
    let secret = secret.to_string_lossy().into_owned();
    let args = Args::parse_from([
        "gallery",
        "--position-key-file",
        &secret,
        "--internal-token-file",
        &secret,
        "--edge-port",
        "8090",
        "--instance",
        "gallery-1",
    ]);
    let sessions = Sessions::connect(SessionArgs::single_node("127.0.0.1:1", "")).await?;
    let web = WebState::new("gallery", &args.web, sessions).await;

    let router = Router::new()
        .merge(assets::router())
        .route(
            "/",
            get(async |page| {
                Html(Home {
                    page,
                    prints: prints(24),
                })
            }),
        )
        .route("/products/{id}", get(product))
        .route(
            "/cart",
            get(async |page| {
                Html(Cart {
                    page,
                    prints: prints(3),
                    total: Cents(48_200),
                })
            }),
        )
        .route("/cart/empty", get(async |page| Html(Nothing { page })))
        .route(
            "/checkout",
            get(async |page| {
                Html(Checkout {
                    page,
                    total: Cents(48_200),
                })
            }),
        )
        .route("/orders", get(async |page| Html(Orders { page })))
        .route(
            "/orders/1",
            get(async |page| {
                Html(Order {
                    page,
                    prints: prints(3),
                    total: Cents(48_200),
                })
            }),
        )
        .route("/login", get(async |page| Html(Login { page })))
        .route(
            "/admin/products",
            get(async |page| {
                Html(Admin {
                    page,
                    prints: prints(8),
                })
            }),
        )
        .route("/problems/{status}", get(problem))
        .route("/photos/{id}/{version}/{name}", get(photo))
        .route(
            "/api/me",
            get(async || axum::Json(serde_json::json!({"user": null, "cart_count": 2}))),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8090").await?;
    println!("http://{}", listener.local_addr()?);
    let shutdown = CancellationToken::new();
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            shop_telemetry::startup::shutdown_signal().await;
            shutdown.cancel();
        }
    });
    app::serve(listener, app::router_layers(router, web), shutdown).await;
    Ok(())
}

async fn product(Path(id): Path<usize>, page: Page) -> Response {
    let mut all = prints(24);
    if id == 0 || id > all.len() {
        return Problem::not_found().into_response();
    }
    let print = all.remove(id - 1);
    shop_telemetry::timing::record("cache", "hit", std::time::Duration::from_micros(800));
    shop_telemetry::timing::record("db", "postgres-3 replica 4ms", std::time::Duration::from_micros(2_100));
    Html(Product { page, print }).into_response()
}

async fn problem(Path(status): Path<u16>) -> Problem {
    Problem::of_status(StatusCode::from_u16(status).unwrap_or(StatusCode::NOT_FOUND))
}

/// Bands of colour in the proportions that the page expects.
async fn photo(Path((id, _, _)): Path<(i64, i32, String)>) -> Response {
    let all = prints(id.clamp(1, 200));
    let Some(print) = all.last() else {
        return Problem::not_found().into_response();
    };
    if let Ok(folder) = std::env::var("GALLERY_PHOTOS")
        && let Ok(bytes) = std::fs::read(std::path::Path::new(&folder).join(format!("{id}.jpg")))
    {
        return ([(header::CONTENT_TYPE, "image/jpeg")], bytes).into_response();
    }
    const PALETTES: [[&str; 4]; 4] = [
        ["#e9dfc9", "#21304a", "#b5532f", "#8fa3a0"],
        ["#14161b", "#c9b27c", "#5b6d7f", "#ded6c4"],
        ["#f0e4d2", "#3d5a45", "#d49a3c", "#7b2d26"],
        ["#d9dfe0", "#2b2a33", "#c0492f", "#8a97a8"],
    ];
    let [paper, ink, accent, tone] = PALETTES[usize::try_from(id).unwrap_or(0) % 4];
    let (width, height) = (print.photo.width, print.photo.height);
    let mut lines = String::new();
    for line in 0..60 {
        let y = f64::from(height) * (0.12 + 0.76 * f64::from(line) / 60.0);
        let swing = 90.0 * (f64::from(line) * 0.13 + f64::from(i32::try_from(id).unwrap_or(0))).sin();
        let colour = if line % 17 == 3 {
            accent
        } else if line % 5 == 0 {
            tone
        } else {
            ink
        };
        let (left, right) = (f64::from(width) * 0.1, f64::from(width) * 0.9);
        lines.push_str(&format!(
            "<path d='M{left} {y} C{} {} {} {} {right} {y}' stroke='{colour}' stroke-width='{}' fill='none'/>",
            f64::from(width) * 0.35,
            y - swing,
            f64::from(width) * 0.65,
            y + swing * 1.4,
            2 + (line * 7) % 11,
        ));
    }
    let svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}'><rect width='100%' height='100%' fill='{paper}'/>{lines}</svg>"
    );
    let timing = header::HeaderName::from_static("server-timing");
    let hops = "edge;desc=\"edge-2\";dur=0.4, cache;desc=\"hit\"";
    ([(header::CONTENT_TYPE, "image/svg+xml"), (timing, hops)], svg).into_response()
}
