//! A real browser: Debian's Chromium, driven by its own driver.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result};
use thirtyfour::prelude::*;
use tokio::process::{Child, Command};

use crate::wait_until;

/// A browser window and the driver process behind it, which ends with it.
pub struct Browser {
    pub window: WebDriver,
    driver: Child,
}

impl Browser {
    /// Opens a window of the given size, dark or light.
    pub async fn open(width: u32, height: u32, dark: bool) -> Result<Self> {
        let port = free_port().await?;
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("chromedriver is not installed (Debian: chromium-driver)")?;
        let url = format!("http://127.0.0.1:{port}");
        wait_until("chromedriver listens", Duration::from_secs(20), || async {
            tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .map(drop)
                .map_err(|error| error.to_string())
        })
        .await?;
        let mut capabilities = DesiredCapabilities::chrome();
        for argument in [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ] {
            capabilities.add_arg(argument)?;
        }
        capabilities.add_arg(&format!("--window-size={width},{height}"))?;
        if dark {
            capabilities.add_arg("--force-dark-mode")?;
            capabilities.add_arg("--blink-settings=preferredColorScheme=0")?;
        }
        let window = WebDriver::new(&url, capabilities).await?;
        window.set_window_rect(0, 0, width, height).await?;
        Ok(Self { window, driver })
    }

    /// Waits until an element is there and visible.
    pub async fn find(&self, css: &str) -> Result<WebElement> {
        self.window
            .query(By::Css(css.to_owned()))
            .wait(Duration::from_secs(20), Duration::from_millis(100))
            .and_displayed()
            .first()
            .await
            .with_context(|| format!("{css} did not appear"))
    }

    /// Whether the page has such an element now.
    pub async fn shows(&self, css: &str) -> Result<bool> {
        Ok(!self.window.find_all(By::Css(css.to_owned())).await?.is_empty())
    }

    /// Waits until the address in the window has this path.
    pub async fn wait_for_path(&self, path: &str) -> Result<()> {
        wait_until(&format!("the window shows {path}"), Duration::from_secs(20), || async {
            match self.window.current_url().await {
                Ok(url) if url.path() == path => Ok(()),
                Ok(url) => Err(url.to_string()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// Waits until every picture on the page has loaded, so that a screenshot shows them.
    pub async fn wait_for_pictures(&self) -> Result<()> {
        let script = "return [...document.images].filter(i => i.loading !== 'lazy' || i.getBoundingClientRect().top < innerHeight)\
                      .filter(i => !(i.complete && i.naturalWidth > 0)).map(i => i.currentSrc || i.src).join(' ')";
        wait_until("all pictures have loaded", Duration::from_secs(30), || async {
            let missing = self
                .window
                .execute(script, vec![])
                .await
                .map_err(|error| error.to_string())?;
            match missing.json().as_str() {
                Some("") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
    }

    /// Keeps a screenshot under `target/screenshots/`.
    pub async fn screenshot(&self, name: &str) -> Result<PathBuf> {
        let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/screenshots"));
        tokio::fs::create_dir_all(&folder).await?;
        let file = folder.join(format!("{name}.png"));
        self.window.screenshot(&file).await?;
        Ok(file)
    }

    /// Closes the window and the driver.
    pub async fn close(mut self) -> Result<()> {
        self.window.quit().await?;
        self.driver.kill().await?;
        Ok(())
    }
}

async fn free_port() -> Result<u16> {
    Ok(tokio::net::TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}
