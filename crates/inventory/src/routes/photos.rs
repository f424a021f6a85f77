//! `/api/photos` and the pictures themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use axum::BoxError;
use axum::body::Body;
use axum::extract::multipart::{Field, MultipartRejection};
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use serde::Serialize;
use shop_queue::messages::PhotoEdits;
use shop_session::{Role, SessionUser};
use shop_web::consistency::Consistency;
use shop_web::extract::{CurrentUser, Json, Path, Shopkeeper};
use shop_web::idempotency::IdempotencyKey;
use shop_web::photo::Photo;

use crate::catalogue;
use crate::domain::edit;
use crate::domain::original::BYTES_MAX;
use crate::domain::photo::{Purpose, VariantName};
use crate::error::{Error, Result};
use crate::queries;
use crate::state::{AppState, CATALOGUE};
use crate::uploads::memory::{IncomingFile, UploadMemory};
use crate::uploads::{self, Upload};

/// A photo's address never comes to mean another picture: a change makes a new version.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");
const ANYBODY: HeaderValue = HeaderValue::from_static("*");
/// Longest field of a form beside the file.
const FIELD_BYTES_MAX: usize = 2000;
/// Longest description for those who can't see the photo, in characters.
const ALT_CHARACTERS_MAX: usize = 500;

/// Answer to an upload.
#[derive(Debug, Serialize)]
pub struct Accepted {
    id: i64,
    status: &'static str,
    url: String,
}

/// Answer to an edit.
#[derive(Debug, Serialize)]
pub struct AcceptedVersion {
    id: i64,
    version: i32,
    status: &'static str,
    url: String,
}

/// The fields of an upload's form.
#[derive(Debug, Default)]
pub struct UploadForm {
    pub file: Option<Bytes>,
    pub purpose: Option<Purpose>,
    pub product_id: Option<i64>,
    pub alt: String,
    /// Forms carry it as a field, others as a header.
    pub key: Option<IdempotencyKey>,
}

/// `POST /api/photos`. With an `Idempotency-Key` it can be sent again until it is answered, and is one photo.
pub async fn upload(
    State(app): State<AppState>,
    CurrentUser { user, .. }: CurrentUser,
    consistency: Consistency,
    headers: HeaderMap,
    form: UploadBody,
) -> Result<Response> {
    let key = IdempotencyKey::of(&headers)?;
    let mut form = read_form(form, &app.upload_memory).await?;
    form.key = key.or(form.key);
    let upload = form.into_upload(&user)?;
    let id = uploads::take(&app, &consistency, upload).await?;
    let url = format!("/api/photos/{id}");
    let accepted = Accepted {
        id,
        status: "accepted",
        url: url.clone(),
    };
    Ok((StatusCode::ACCEPTED, [(LOCATION, url)], Json(accepted)).into_response())
}

/// `GET /api/photos/{id}`
pub async fn show(State(app): State<AppState>, consistency: Consistency, Path(id): Path<i64>) -> Result<Json<Photo>> {
    let read = catalogue::read(&app, consistency.after(CATALOGUE), async |mut conn| {
        let mut photos = queries::photos::shown(&mut conn, &[id]).await?;
        Ok(photos.remove(&id))
    });
    let photo = read.await?.value.ok_or(Error::UnknownPhoto(id))?;
    Ok(Json(photo))
}

/// `POST /api/photos/{id}/versions`
pub async fn add_version(
    State(app): State<AppState>,
    _: Shopkeeper,
    consistency: Consistency,
    Path(id): Path<i64>,
    Json(edits): Json<PhotoEdits>,
) -> Result<Response> {
    let edits = edit::photo(edits)?;
    let version = uploads::edit(&app, &consistency, id, edits).await?;
    let accepted = AcceptedVersion {
        id,
        version,
        status: "accepted",
        url: format!("/api/photos/{id}"),
    };
    Ok((StatusCode::ACCEPTED, Json(accepted)).into_response())
}

/// `GET /photos/{id}/{version}/{name}`: a picture, for the edge and for those whose edge is down.
pub async fn picture(
    State(app): State<AppState>,
    Path((id, version, name)): Path<(i64, i32, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response> {
    let unknown = Error::UnknownPicture(id);
    let Some(name) = VariantName::parse(&name).filter(|_| id > 0 && version > 0) else {
        return Err(unknown);
    };
    // 007 is 7, but caches would keep the picture once for each spelling.
    if uri.path() != format!("/photos/{id}/{version}/{}", name.as_str()) {
        return Err(unknown);
    }
    // The address names the bytes for good, so it is their tag as well; who has it was given it with the bytes.
    let tag = format!("\"{id}-{version}-{}\"", name.as_str());
    let has_it = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|tags| {
            tags.split(',')
                .any(|candidate| candidate.trim().trim_start_matches("W/") == tag)
        });
    let mut response = if has_it {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let key = format!("variants/{id}/{version}/{}", name.as_str());
        let Some(bytes) = app.objects.get(&key).await? else {
            return Err(unknown);
        };
        let content_type = HeaderValue::from_static(name.content_type());
        ([(CONTENT_TYPE, content_type)], bytes).into_response()
    };
    let about = response.headers_mut();
    about.insert(CACHE_CONTROL, IMMUTABLE);
    about.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANYBODY);
    about.insert(TIMING_ALLOW_ORIGIN, ANYBODY);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        about.insert(ETAG, tag);
    }
    if let Ok(tag) = HeaderValue::from_str(&format!("photo-{id}")) {
        about.insert(CACHE_TAG, tag);
    }
    Ok(response)
}

/// A form with a file, of which little is held that nobody has looked at: what comes before a field, and a field's head,
/// is collected until it is whole, which the sender may let it never be.
pub struct UploadBody {
    form: Multipart,
    unread: Unread,
}

/// The bytes that have come since a field or a piece of one was last found among them.
#[derive(Clone, Default)]
struct Unread(Arc<AtomicUsize>);

impl Unread {
    /// More than this is no head of a field, nor what comes before the first, nor what hyper has read ahead.
    const BYTES_MAX: usize = 1024 * 1024;

    fn arrived(&self, bytes: usize) -> Result<(), UnreadTooLong> {
        if self.0.fetch_add(bytes, Relaxed) + bytes <= Self::BYTES_MAX {
            Ok(())
        } else {
            Err(UnreadTooLong)
        }
    }

    fn found(&self) {
        self.0.store(0, Relaxed);
    }
}

#[derive(Debug, thiserror::Error)]
#[error("too much of the form comes before any of its content")]
struct UnreadTooLong;

impl<S: Send + Sync> FromRequest<S> for UploadBody {
    type Rejection = MultipartRejection;

    async fn from_request(request: Request, state: &S) -> Result<Self, MultipartRejection> {
        let unread = Unread::default();
        let arriving = unread.clone();
        let request = request.map(|body| {
            Body::from_stream(body.into_data_stream().map(move |chunk| -> Result<Bytes, BoxError> {
                let chunk = chunk?;
                arriving.arrived(chunk.len())?;
                Ok(chunk)
            }))
        });
        let form = Multipart::from_request(request, state).await?;
        Ok(Self { form, unread })
    }
}

/// Reads a form piece by piece, within limits; fields that nobody knows are skipped.
pub async fn read_form(body: UploadBody, memory: &UploadMemory) -> Result<UploadForm> {
    let UploadBody { mut form, unread } = body;
    let mut read = UploadForm::default();
    while let Some(field) = form.next_field().await.map_err(Error::UploadBroken)? {
        unread.found();
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" {
            read.file = Some(read_file(field, memory.file(), &unread).await?);
            continue;
        }
        let bytes = read_field(field, &unread).await?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| Error::InvalidUpload("A field of the form is no text."))?
            .trim();
        match name.as_str() {
            _ if text.is_empty() => {}
            "purpose" => {
                let purpose = text.parse();
                read.purpose =
                    Some(purpose.map_err(|_| Error::InvalidUpload("The purpose is `product` or `profile`."))?);
            }
            "product_id" => {
                let id = text.parse().ok().filter(|id| *id > 0);
                read.product_id = Some(id.ok_or(Error::InvalidUpload("The product's id is a positive number."))?);
            }
            "alt" => {
                if text.chars().count() > ALT_CHARACTERS_MAX || text.contains('\0') {
                    return Err(Error::InvalidUpload("The description is too long."));
                }
                text.clone_into(&mut read.alt);
            }
            "idempotency_key" => read.key = Some(IdempotencyKey::parse(text)?),
            _ => {}
        }
    }
    Ok(read)
}

async fn read_file(mut field: Field<'_>, mut file: IncomingFile, unread: &Unread) -> Result<Bytes> {
    while let Some(chunk) = field.chunk().await.map_err(Error::UploadBroken)? {
        unread.found();
        if file.bytes_arrived() + chunk.len() > BYTES_MAX {
            return Err(Error::UploadTooLarge);
        }
        file.push(&chunk).await?;
    }
    Ok(file.finish())
}

async fn read_field(mut field: Field<'_>, unread: &Unread) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(Error::UploadBroken)? {
        unread.found();
        if bytes.len() + chunk.len() > FIELD_BYTES_MAX {
            return Err(Error::InvalidUpload("A field of the form is too long."));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

impl UploadForm {
    /// What is uploaded, if this person may upload it.
    pub fn into_upload(self, user: &SessionUser) -> Result<Upload> {
        let file = self
            .file
            .filter(|file| !file.is_empty())
            .ok_or(Error::InvalidUpload("The form has no file in a field called `file`."))?;
        let purpose = match (self.purpose, self.product_id) {
            (Some(Purpose::Profile), Some(_)) => {
                return Err(Error::InvalidUpload("A profile's photo belongs to no product."));
            }
            (Some(purpose), _) => purpose,
            (None, Some(_)) => Purpose::Product,
            (None, None) => Purpose::Profile,
        };
        if purpose == Purpose::Product && user.role != Role::Shopkeeper {
            return Err(Error::NotShopkeeper);
        }
        Ok(Upload {
            owner_id: user.id,
            key: self.key.unwrap_or_else(IdempotencyKey::random),
            purpose,
            product_id: self.product_id,
            alt: self.alt,
            file,
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::extract::DefaultBodyLimit;

    use super::*;

    const MIB: usize = 1024 * 1024;

    /// Reads a form that arrives as from a connection: there is more only after what there was has been taken.
    async fn read(parts: &[&[u8]]) -> Result<UploadForm> {
        let whole = parts.concat();
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Result<Bytes, BoxError>>(1);
        tokio::spawn(async move {
            for chunk in whole.chunks(64 * 1024) {
                if sender.send(Ok(Bytes::copy_from_slice(chunk))).await.is_err() {
                    return;
                }
            }
        });
        let arriving = futures::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        let mut request = Request::new(Body::from_stream(arriving));
        let form = HeaderValue::from_static("multipart/form-data; boundary=part");
        request.headers_mut().insert(CONTENT_TYPE, form);
        DefaultBodyLimit::max(BYTES_MAX).apply(&mut request);
        let body = UploadBody::from_request(request, &()).await.expect("a form");
        read_form(body, &UploadMemory::new(BYTES_MAX)).await
    }

    #[tokio::test]
    async fn a_large_file_is_read_piece_by_piece() {
        let head = b"--part\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
        let file = vec![b'x'; 5 * MIB];
        let read = read(&[head, &file, b"\r\n--part--\r\n"]).await.expect("a form");
        assert_eq!(read.file.map(|file| file.len()), Some(5 * MIB));
    }

    #[tokio::test]
    async fn what_comes_before_any_content_is_not_collected_without_end() {
        let endless = vec![b'x'; 2 * MIB];
        let start_of_head = b"--part\r\nContent-Disposition: form-data; name=\"file\"; filename=\"";
        for parts in [&[&endless[..]][..], &[&start_of_head[..], &endless[..]][..]] {
            let refused = read(parts).await.err();
            assert!(matches!(refused, Some(Error::UploadBroken(_))), "{refused:?}");
        }
    }
}
