//! Photos and their variants, in an S3 store of several nodes, or in a folder.
//!
//! Every node of the store serves every object. A request goes to one node and, if that fails, to the next, within one
//! deadline. All operations are idempotent: an object is written whole, under a key that names its version.

mod config;
mod nodes;
mod plain_http;

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Attribute, Attributes, GetOptions, ObjectStore, ObjectStoreExt as _, PutOptions, RetryConfig};

pub use config::ObjectArgs;
use nodes::{Node, Nodes};
use plain_http::PlainHttp;

/// Objects above this are not read: no photo is as large.
const OBJECT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A handle to the store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Objects {
    nodes: Arc<Nodes>,
}

/// Why the store could not be asked, or refused.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The configuration can't be used.
    #[error("{variable}: {reason}")]
    Config {
        /// The variable that is wrong.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The key is not one that an object may have.
    #[error("{0:?} is no key of an object")]
    InvalidKey(String),
    /// The object is larger than anything that this shop stores.
    #[error("{key} has {bytes} bytes, more than {OBJECT_BYTES_MAX}")]
    TooLarge {
        /// The object's key.
        key: String,
        /// Its size.
        bytes: u64,
    },
    /// No node answered in time.
    #[error("no node of the object store answered within {0:?}")]
    Timeout(Duration),
    /// All nodes failed, the last one like this; or one refused, and the others would too.
    #[error("the object store failed")]
    Store(#[source] object_store::Error),
}

impl ObjectError {
    /// Whether a later try may succeed with nothing changed.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Timeout(_) => true,
            Self::Store(error) => nodes::is_worth_another_node(error),
            _ => false,
        }
    }
}

impl Objects {
    /// A handle to the configured store. Doesn't ask the store anything: a process must start also while it is down.
    pub fn connect(args: &ObjectArgs) -> Result<Self, ObjectError> {
        if let Some(folder) = &args.objects_dir {
            return Self::in_folder(folder);
        }
        let nodes = args
            .endpoints()?
            .into_iter()
            .map(|endpoint| {
                let store = AmazonS3Builder::new()
                    .with_endpoint(&endpoint)
                    .with_bucket_name(&args.objects_bucket)
                    .with_region(&args.objects_region)
                    .with_access_key_id(args.access_key()?)
                    .with_secret_access_key(args.secret_key()?)
                    .with_virtual_hosted_style_request(false)
                    .with_allow_http(true)
                    // Trying again is done here, on another node.
                    .with_retry(RetryConfig {
                        max_retries: 0,
                        ..RetryConfig::default()
                    })
                    .with_http_connector(PlainHttp)
                    .build()
                    .map_err(ObjectError::Store)?;
                Ok(Node::new(endpoint, Arc::new(store)))
            })
            .collect::<Result<Vec<_>, ObjectError>>()?;
        Ok(Self {
            nodes: Arc::new(Nodes::new(nodes)),
        })
    }

    /// A store in a folder, which is made if it is missing.
    pub fn in_folder(folder: &FilePath) -> Result<Self, ObjectError> {
        let unusable = |reason: String| ObjectError::Config {
            variable: "OBJECTS_DIR",
            reason,
        };
        std::fs::create_dir_all(folder).map_err(|error| unusable(error.to_string()))?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| unusable(error.to_string()))?;
        let node = Node::without_attributes(folder.display().to_string(), Arc::new(store));
        Ok(Self {
            nodes: Arc::new(Nodes::new(vec![node])),
        })
    }

    /// Stores an object, in place of one that had the same key.
    pub async fn put(&self, key: &str, bytes: Bytes, content_type: &str) -> Result<(), ObjectError> {
        let path = parse(key)?;
        self.nodes
            .run("put", |node| {
                let (path, bytes, content_type) = (path.clone(), bytes.clone(), content_type.to_owned());
                async move {
                    let mut options = PutOptions::default();
                    if node.has_attributes() {
                        options.attributes = Attributes::from_iter([(Attribute::ContentType, content_type)]);
                    }
                    node.store.put_opts(&path, bytes.into(), options).await.map(|_| ())
                }
            })
            .await
    }

    /// Fetches an object; none if there is none.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, ObjectError> {
        let path = parse(key)?;
        let found = self
            .nodes
            .run("get", |node| {
                let path = path.clone();
                async move {
                    let found = node.store.get_opts(&path, GetOptions::default()).await?;
                    let bytes_total = found.meta.size;
                    if bytes_total > OBJECT_BYTES_MAX {
                        return Ok(Err(bytes_total));
                    }
                    Ok(Ok(found.bytes().await?))
                }
            })
            .await;
        match found {
            Ok(Ok(bytes)) => Ok(Some(bytes)),
            Ok(Err(bytes_total)) => Err(ObjectError::TooLarge {
                key: key.to_owned(),
                bytes: bytes_total,
            }),
            Err(ObjectError::Store(object_store::Error::NotFound { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes an object. That there was none is no error.
    pub async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        let path = parse(key)?;
        let deleted = self
            .nodes
            .run("delete", |node| {
                let path = path.clone();
                async move { node.store.delete(&path).await }
            })
            .await;
        match deleted {
            Err(ObjectError::Store(object_store::Error::NotFound { .. })) => Ok(()),
            other => other,
        }
    }
}

fn parse(key: &str) -> Result<Path, ObjectError> {
    Path::parse(key)
        .ok()
        .filter(|path| !path.as_ref().is_empty())
        .ok_or_else(|| ObjectError::InvalidKey(key.to_owned()))
}
