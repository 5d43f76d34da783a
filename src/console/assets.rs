//! The style sheet, the script and the icon, which are in the binary.

use axum::http::{HeaderName, header};

type Asset = ([(HeaderName, &'static str); 1], &'static str);

pub(super) async fn style() -> Asset {
    asset(
        "text/css; charset=utf-8",
        concat!(
            include_str!("assets/palette.css"),
            include_str!("assets/style.css")
        ),
    )
}

pub(super) async fn script() -> Asset {
    asset(
        "text/javascript; charset=utf-8",
        include_str!("assets/console.js"),
    )
}

pub(super) async fn icon() -> Asset {
    asset("image/svg+xml", include_str!("assets/icon.svg"))
}

const fn asset(content_type: &'static str, text: &'static str) -> Asset {
    ([(header::CONTENT_TYPE, content_type)], text)
}
