//! Which store, and with which keys.

use std::path::PathBuf;

use shop_telemetry::startup::SecretFile;
use url::Url;

use crate::ObjectError;

/// Where objects are kept.
#[derive(Clone, Debug, clap::Args)]
pub struct ObjectArgs {
    /// Addresses of the store's nodes, separated by commas: `http://objects-1:3900,http://objects-2:3900`.
    #[arg(
        long,
        env = "OBJECTS_ENDPOINTS",
        value_delimiter = ',',
        required_unless_present = "objects_dir"
    )]
    pub objects_endpoints: Vec<String>,

    /// The bucket that holds all objects.
    #[arg(long, env = "OBJECTS_BUCKET", default_value = "photos")]
    pub objects_bucket: String,

    /// The region that requests are signed for.
    #[arg(long, env = "OBJECTS_REGION", default_value = "garage")]
    pub objects_region: String,

    /// File with the access key's id.
    #[arg(long, env = "S3_ACCESS_KEY_FILE", required_unless_present = "objects_dir")]
    pub s3_access_key_file: Option<SecretFile>,

    /// File with the secret key.
    #[arg(long, env = "S3_SECRET_KEY_FILE", required_unless_present = "objects_dir")]
    pub s3_secret_key_file: Option<SecretFile>,

    /// A folder to keep objects in, instead of a store; for tests.
    #[arg(long, env = "OBJECTS_DIR")]
    pub objects_dir: Option<PathBuf>,
}

impl ObjectArgs {
    /// Objects in a folder.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            objects_endpoints: Vec::new(),
            objects_bucket: "photos".to_owned(),
            objects_region: "garage".to_owned(),
            s3_access_key_file: None,
            s3_secret_key_file: None,
            objects_dir: Some(folder.into()),
        }
    }

    pub(crate) fn endpoints(&self) -> Result<Vec<String>, ObjectError> {
        let variable = "OBJECTS_ENDPOINTS";
        if self.objects_endpoints.is_empty() {
            return Err(ObjectError::Config {
                variable,
                reason: "names no node".to_owned(),
            });
        }
        for endpoint in &self.objects_endpoints {
            let usable = Url::parse(endpoint)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some());
            if !usable {
                return Err(ObjectError::Config {
                    variable,
                    reason: format!("{endpoint:?} is no http address"),
                });
            }
        }
        Ok(self.objects_endpoints.clone())
    }

    pub(crate) fn access_key(&self) -> Result<&str, ObjectError> {
        expose(self.s3_access_key_file.as_ref(), "S3_ACCESS_KEY_FILE")
    }

    pub(crate) fn secret_key(&self) -> Result<&str, ObjectError> {
        expose(self.s3_secret_key_file.as_ref(), "S3_SECRET_KEY_FILE")
    }
}

fn expose<'a>(file: Option<&'a SecretFile>, variable: &'static str) -> Result<&'a str, ObjectError> {
    file.map(SecretFile::expose).ok_or_else(|| ObjectError::Config {
        variable,
        reason: "is not set".to_owned(),
    })
}
