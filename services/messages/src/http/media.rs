//! `POST /api/messages/media/` and `GET /api/messages/media/<id>/`

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_range_header::{EndPosition, StartPosition, parse_range_header};
use natter_auth::Caller;
use natter_http::{BaseUrl, FieldsAndFiles, PathId};
use natter_media::{MESSAGES, Place};
use natter_protocol::{MediaId, message::Media};
use utoipa::ToSchema;

use crate::{Messages, error::Error, files, plan::KnownMedia};

/// A file to upload.
#[derive(ToSchema)]
#[expect(dead_code, reason = "documents what is read as a file")]
pub struct FileForm {
    /// At most 25 MiB.
    #[schema(schema_with = natter_http::file)]
    file: Vec<u8>,
}

/// Upload a file
///
/// The file is removed after 24 hours unless its uploader has sent it in a message.
#[utoipa::path(
    post,
    path = "/api/messages/media/",
    operation_id = "upload_file",
    security(("bearer" = [])),
    request_body(content = FileForm, content_type = "multipart/form-data"),
    responses((status = 201, description = "The stored file", body = Media))
)]
pub async fn upload(
    State(messages): State<Messages>,
    caller: Caller,
    base: BaseUrl,
    FieldsAndFiles { mut files, .. }: FieldsAndFiles,
) -> Result<(StatusCode, Json<Media>), Error> {
    let (name, file) = files.pop().ok_or(Error::FileRequired)?;
    if name != "file" || !files.is_empty() {
        return Err(Error::FileRequired);
    }
    let (id, new) = files::store(&messages.media, file).await?;
    let known = KnownMedia::new(caller.user, id, new);
    messages.store.add_upload(&known).await?;
    let mut media = known.media;
    media.file = Some(format!("{}{}", base.0, media.path()));
    Ok((StatusCode::CREATED, Json(media)))
}

/// Download a file
///
/// Until a file is sent in a message only its uploader may download it; afterwards both members of
/// that channel may. One range of bytes can be requested.
#[utoipa::path(
    get,
    path = "/api/messages/media/{id}/",
    operation_id = "download_file",
    security(("bearer" = [])),
    params(
        ("id" = MediaId, Path, description = "From an upload or a message"),
        ("Range" = Option<String>, Header, description = "As in `bytes=0-99`"),
    ),
    responses(
        (status = 200, description = "The file", content_type = "*/*"),
        (status = 206, description = "The range of it", content_type = "*/*"),
    )
)]
pub async fn download(
    State(messages): State<Messages>,
    caller: Caller,
    PathId(id): PathId<MediaId>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let id = id.ok_or(Error::MediaNotFound)?;
    let row = messages
        .store
        .media(id)
        .await?
        .ok_or(Error::MediaNotFound)?;
    let channel = row.channel();
    let known = row.known();
    if known.owner != caller.user {
        // Once the file was sent, the channel's members may have it; for anyone else it does not
        // exist.
        let channel = channel.ok_or(Error::MediaNotFound)?;
        let member = messages.channels.of_member(channel, caller.user).await;
        member.map_err(|error| match error {
            Error::FriendshipNotFound => Error::MediaNotFound,
            error => error,
        })?;
    }
    let media = known.media;
    let Ok(part) = range(&method, &headers, media.size) else {
        return Ok(unsatisfiable(media.size));
    };
    let (first, last) = part.unwrap_or((0, media.size.saturating_sub(1)));
    let bytes = if media.size == 0 {
        0..0
    } else {
        first..last + 1
    };
    let length = bytes.end - bytes.start;
    let stream = messages
        .media
        .read(Place(MESSAGES, &id.to_string()), bytes)
        .await?;
    let stream = stream.ok_or(Error::MediaNotFound)?;
    let mut response = Response::new(Body::from_stream(stream));
    if part.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {first}-{last}/{}", media.size);
        set(&mut response, header::CONTENT_RANGE, &range);
    }
    set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    set(&mut response, header::CONTENT_TYPE, &media.content_type);
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(
        &mut response,
        header::CACHE_CONTROL,
        "private, max-age=31536000, immutable",
    );
    set(
        &mut response,
        header::CONTENT_DISPOSITION,
        &disposition(&media),
    );
    Ok(response)
}

/// The one range that is asked for, as its first and last byte; none for the whole file.
fn range(method: &Method, headers: &HeaderMap, size: u64) -> Result<Option<(u64, u64)>, ()> {
    // RFC 9110: a range applies to GET alone. `If-Range` never holds: answers have no validator.
    if method != Method::GET || headers.contains_key(header::IF_RANGE) {
        return Ok(None);
    }
    let Some(value) = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok())
    else {
        return Ok(None);
    };
    // A suffix range (the last so many bytes): 0 is an error, more than there are mean the whole
    // file.
    let suffix = value.strip_prefix("bytes=-").map(str::parse::<u64>);
    if suffix == Some(Ok(0)) {
        return Err(());
    }
    if matches!(suffix, Some(Ok(bytes)) if bytes > size && size > 0) {
        return Ok(Some((0, size - 1)));
    }
    // As HTTP allows, what is not a range of bytes is ignored, and so are several ranges.
    let Ok(parsed) = parse_range_header(value) else {
        return Ok(None);
    };
    let [one] = parsed.ranges.as_slice() else {
        return Ok(None);
    };
    // A range that ends before it begins is not valid, so it is ignored too.
    if let (StartPosition::Index(first), EndPosition::Index(last)) = (one.start, one.end)
        && last < first
    {
        return Ok(None);
    }
    if size == 0 {
        return Err(());
    }
    match parsed.validate(size).map_err(drop)?.as_slice() {
        [one] => Ok(Some((*one.start(), *one.end()))),
        _ => Ok(None),
    }
}

fn unsatisfiable(size: u64) -> Response {
    let mut response = Error::RangeNotSatisfiable.into_response();
    set(
        &mut response,
        header::CONTENT_RANGE,
        &format!("bytes */{size}"),
    );
    response
}

/// Only raster images, audio and video are shown inline: nothing that could run as code.
fn disposition(media: &Media) -> String {
    let kind = media.content_type.as_str();
    let is_raster = [
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "image/avif",
        "image/bmp",
    ]
    .contains(&kind);
    let plays = kind.starts_with("audio/") || kind.starts_with("video/");
    // Browsers read what says that it is XML as a document.
    let shown = is_raster || plays && !kind.ends_with("xml");
    let how = if shown { "inline" } else { "attachment" };
    let encoded: String = media
        .filename
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    // For clients that do not read `filename*`.
    let plain: String = media
        .filename
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() && !"\"\\%".contains(c) || c == ' ' {
                c
            } else {
                '_'
            }
        })
        .collect();
    format!("{how}; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = value.parse() {
        response.headers_mut().insert(name, value);
    }
}
