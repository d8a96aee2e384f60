//! Profile images: decoded, scaled down, encoded anew (which drops what cameras write into them),
//! and kept in the media store under a new name each time.

use std::{io::Cursor, sync::Arc, time::Duration};

use bytes::Bytes;
use image::{
    DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, codecs::jpeg::JpegEncoder,
    imageops::FilterType,
};
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};
use natter_media::{MediaStore, Place};
use natter_process::Process;
use natter_protocol::profile::BrokenRule;
use tokio::{
    sync::{Notify, Semaphore},
    time::timeout,
};
use uuid::Uuid;

use crate::{error::Error, store::Store};

/// The largest file that is accepted, in bytes.
pub const MAX_FILE_BYTES: usize = 5 << 20;
const MAX_PIXELS: u64 = 25_000_000;
/// How many images are decoded at a time, on however many cores: one of [`MAX_PIXELS`] takes up to
/// some 400 MB.
const MAX_DECODING: usize = 2;
/// Both sides of a stored image are at most this many pixels.
const MAX_SIDE: u32 = 1_024;
const JPEG_QUALITY: u8 = 85;
/// What a PNG may take beside its pixels: its chunks, of which some are copied, an unfolded profile,
/// and one row of the image.
const PNG_ALLOCATED_BYTES: u64 = 32 << 20;
/// No profile of a camera or a screen is larger.
const MAX_PROFILE_BYTES: usize = 4 << 20;
const FOLDER: &str = "images";
const MAX_STEM_BYTES: usize = 64;
const SWEEP_EVERY: Duration = Duration::from_secs(10);
const SWEEP_TIMEOUT: Duration = Duration::from_secs(60);
const SWEEP_IMAGES: i64 = 100;

#[derive(Clone)]
pub struct Images {
    files: MediaStore,
    rows: Store,
    decoding: Arc<Semaphore>,
    unnamed: Arc<Notify>,
}

impl Images {
    pub fn new(files: MediaStore, rows: Store) -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            files,
            rows,
            decoding: Arc::new(Semaphore::new(workers.min(MAX_DECODING))),
            unnamed: Arc::default(),
        }
    }

    /// Stores an image; returns its name. It is removed again unless an account names it soon.
    pub async fn put(&self, file: Bytes) -> Result<String, Error> {
        if file.len() > MAX_FILE_BYTES {
            let sentence = format!("The image is larger than {} MiB.", MAX_FILE_BYTES >> 20);
            return Err(BrokenRule::new("invalid_image", sentence).into());
        }
        let decoding = self.decoding.clone().acquire_owned().await;
        let decoding = decoding.map_err(|_| Error::Busy)?;
        // The permit goes with the work: it goes on when the client that sent it is gone.
        let normalised = tokio::task::spawn_blocking(move || {
            let _permit = decoding;
            normalise(&file)
        });
        let (encoded, extension) = normalised
            .await
            .map_err(|error| Error::Internal(error.into()))??;
        // A new name each time: no account can name a file that is being removed.
        let name = format!("{}.{extension}", Uuid::now_v7());
        // The row first: by it the sweep finds the file if no account names it in the end.
        self.rows.expect_image(&name).await?;
        self.files.put(object(&name), encoded.into()).await?;
        Ok(name)
    }

    /// The image and its content type.
    pub async fn get(&self, name: &str) -> Result<(Bytes, &'static str), Error> {
        let content_type = match name.rsplit_once('.') {
            Some((stem, "jpg")) if is_stem(stem) => "image/jpeg",
            Some((stem, "png")) if is_stem(stem) => "image/png",
            _ => return Err(Error::ImageNotFound),
        };
        let stored = self.files.get(object(name)).await?;
        Ok((stored.ok_or(Error::ImageNotFound)?, content_type))
    }

    /// Removes the images that no account names any more, until the process stops.
    pub fn sweep(&self, process: &Process) {
        let (images, stop) = (self.clone(), process.shutdown.clone());
        process.tasks.spawn(async move {
            let sweeping = async {
                loop {
                    let _ = timeout(SWEEP_EVERY, images.unnamed.notified()).await;
                    match timeout(SWEEP_TIMEOUT, images.sweep_once()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::warn!(%error, "images could not be swept"),
                        Err(_) => tracing::warn!("images could not be swept in time"),
                    }
                }
            };
            stop.run_until_cancelled(sweeping).await;
        });
    }

    /// To be called when an account names an image no more: sweeps without waiting for the next
    /// turn.
    pub fn sweep_soon(&self) {
        self.unnamed.notify_one();
    }

    async fn sweep_once(&self) -> Result<(), Error> {
        for name in self.rows.expired_images(SWEEP_IMAGES).await? {
            // The row last: after a crash between the two, the next sweep finds the file by it.
            self.files.delete(object(&name)).await?;
            self.rows.forget_image(&name).await?;
        }
        Ok(())
    }
}

pub fn object(name: &str) -> Place<'_> {
    Place(FOLDER, name)
}

fn is_stem(stem: &str) -> bool {
    (1..=MAX_STEM_BYTES).contains(&stem.len())
        && stem
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

pub fn undecodable() -> BrokenRule {
    BrokenRule::new(
        "invalid_image",
        "The image cannot be read: send a JPEG, PNG, WebP or GIF.",
    )
}

fn normalise(file: &[u8]) -> Result<(Vec<u8>, &'static str), Error> {
    let mut reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .map_err(|_| undecodable())?;
    let format = reader.format();
    let mut limits = Limits::default();
    limits.max_alloc = Some(match format {
        Some(ImageFormat::Png) => PNG_ALLOCATED_BYTES,
        // A GIF's frame, which may be larger than what is shown of it. (The other formats' decoders
        // take no limit: their memory follows from the size of the image.)
        _ => 4 * MAX_PIXELS,
    });
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|_| undecodable())?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let sentence = format!(
            "The image has more than {} megapixels.",
            MAX_PIXELS / 1_000_000
        );
        return Err(BrokenRule::new("invalid_image", sentence).into());
    }
    if format == Some(ImageFormat::Jpeg) && !is_whole_jpeg(file) {
        return Err(undecodable().into());
    }
    let orientation = decoder.orientation().map_err(|_| undecodable())?;
    let profile = decoder.icc_profile().ok().flatten();
    let profile = profile.filter(|profile| profile.len() <= MAX_PROFILE_BYTES);
    let mut image = DynamicImage::from_decoder(decoder).map_err(|_| undecodable())?;
    if width.max(height) > MAX_SIDE {
        image = image.resize(MAX_SIDE, MAX_SIDE, FilterType::Triangle);
    }
    // After the scaling: a conversion holds the image three times.
    if let Some(profile) = profile {
        image = in_srgb(image, &profile);
    }
    image.apply_orientation(orientation);
    encode(&image).map_err(|error| Error::Internal(error.into()))
}

/// Whether a JPEG goes on to its end: the decoder fills what is missing with grey.
fn is_whole_jpeg(file: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    const END: u8 = 0xd9;
    let mut at = 2;
    while let Some([0xff, marker]) = file.get(at..at + 2) {
        match *marker {
            END => return true,
            // Padding before a marker.
            0xff => at += 1,
            // Markers without a length.
            0x01 | 0xd0..=0xd8 => at += 2,
            marker => {
                let Some([high, low]) = file.get(at + 2..at + 4) else {
                    return false;
                };
                at += 2 + usize::from(u16::from_be_bytes([*high, *low]));
                if marker == START_OF_SCAN {
                    // Coded data: a marker in it is one that is neither stuffing nor a restart.
                    let is_marker =
                        |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xd0..=0xd7);
                    let rest = file.get(at..).unwrap_or_default();
                    match rest.windows(2).position(is_marker) {
                        Some(next) => at += next,
                        None => return false,
                    }
                }
            }
        }
    }
    false
}

/// The image with the colours that its profile means, as sRGB. One whose profile cannot be read is
/// taken for sRGB, as browsers do.
fn in_srgb(image: DynamicImage, profile: &[u8]) -> DynamicImage {
    let converted = || {
        let source = ColorProfile::new_from_slice(profile).ok()?;
        if source.color_space != DataColorSpace::Rgb {
            return None;
        }
        let mut pixels = image.to_rgba8();
        let transform = source
            .create_transform_8bit(
                Layout::Rgba,
                &ColorProfile::new_srgb(),
                Layout::Rgba,
                TransformOptions::default(),
            )
            .ok()?;
        let before = pixels.clone();
        transform.transform(&before, &mut pixels).ok()?;
        Some(if image.color().has_alpha() {
            DynamicImage::ImageRgba8(pixels)
        } else {
            DynamicImage::ImageRgb8(DynamicImage::ImageRgba8(pixels).to_rgb8())
        })
    };
    converted().unwrap_or(image)
}

/// JPEG, or PNG where the image has an alpha channel.
fn encode(image: &DynamicImage) -> image::ImageResult<(Vec<u8>, &'static str)> {
    let mut out = Cursor::new(Vec::new());
    if image.color().has_alpha() {
        image.to_rgba8().write_to(&mut out, ImageFormat::Png)?;
        return Ok((out.into_inner(), "png"));
    }
    let encoder = JpegEncoder::new_with_quality(&mut out, JPEG_QUALITY);
    image.to_rgb8().write_with_encoder(encoder)?;
    Ok((out.into_inner(), "jpg"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        DynamicImage::new_rgb8(width, height)
            .write_to(&mut out, ImageFormat::Png)
            .expect("a png");
        out.into_inner()
    }

    #[test]
    fn large_images_are_scaled_and_keep_their_shape() {
        let (encoded, extension) = normalise(&png(2048, 512)).expect("an image");
        assert_eq!(extension, "jpg");
        let scaled = image::load_from_memory(&encoded).expect("an image");
        assert_eq!((scaled.width(), scaled.height()), (1024, 256));
    }

    fn jpeg(profile: Option<Vec<u8>>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = JpegEncoder::new_with_quality(&mut out, 100);
        if let Some(profile) = profile {
            let set = image::ImageEncoder::set_icc_profile(&mut encoder, profile);
            set.expect("a profile");
        }
        let orange = image::RgbImage::from_pixel(64, 64, image::Rgb([255, 128, 0]));
        orange.write_with_encoder(encoder).expect("a jpeg");
        out
    }

    #[test]
    fn a_jpeg_that_breaks_off_is_refused_wherever() {
        let whole = jpeg(None);
        assert!(normalise(&whole).is_ok());
        // What some cameras append is no fault.
        assert!(normalise(&[&whole[..], b"more"].concat()).is_ok());
        for end in 1..whole.len() {
            assert!(
                matches!(normalise(&whole[..end]), Err(Error::Invalid(_))),
                "cut at {end} of {}",
                whole.len()
            );
        }
    }

    #[test]
    fn colours_of_another_profile_become_those_of_srgb() {
        let pixel = |profile| {
            let (encoded, _) = normalise(&jpeg(profile)).expect("an image");
            let image = image::load_from_memory(&encoded).expect("an image");
            image.to_rgb8().get_pixel(32, 32).0
        };
        let near = |one: [u8; 3], other: [u8; 3]| {
            one.iter()
                .zip(other)
                .all(|(one, other)| one.abs_diff(other) <= 8)
        };
        let p3 = ColorProfile::new_display_p3().encode().expect("a profile");
        assert!(near(pixel(None), [255, 128, 0]), "{:?}", pixel(None));
        // Display P3's orange is a stronger one than sRGB has.
        let (plain, converted) = (pixel(None), pixel(Some(p3)));
        assert!(near(converted, [255, 120, 0]), "{converted:?}");
        assert!(converted[1] < plain[1], "{converted:?} {plain:?}");
        assert_eq!(pixel(Some(b"nonsense".to_vec())), plain);
    }

    #[test]
    fn a_profile_that_unfolds_to_more_than_any_has_is_left_out() {
        let p3 = ColorProfile::new_display_p3().encode().expect("a profile");
        let pixel = |bytes: usize| {
            let mut profile = p3.clone();
            profile.resize(bytes.max(p3.len()), 0);
            let mut file = Vec::new();
            let mut encoder = image::codecs::png::PngEncoder::new(&mut file);
            let set = image::ImageEncoder::set_icc_profile(&mut encoder, profile);
            set.expect("a profile");
            let orange = image::RgbImage::from_pixel(8, 8, image::Rgb([255, 128, 0]));
            orange.write_with_encoder(encoder).expect("a png");
            assert!(file.len() < 1 << 20, "{}", file.len());
            let (encoded, _) = normalise(&file).expect("an image");
            let image = image::load_from_memory(&encoded).expect("an image");
            image.to_rgb8().get_pixel(4, 4).0
        };
        let converted = pixel(0);
        assert_eq!(pixel(MAX_PROFILE_BYTES), converted);
        let plain = pixel(MAX_PROFILE_BYTES + 1);
        assert!(plain[1] > converted[1], "{plain:?} {converted:?}");
        // Past what a PNG may take beside its pixels it is not even unfolded.
        assert_eq!(pixel(64 << 20), plain);
    }

    #[test]
    fn a_frame_of_more_pixels_than_an_image_may_have_is_refused() {
        let gif = |width, height| {
            let mut file = Vec::new();
            let frame = image::Frame::new(image::RgbaImage::new(width, height));
            let mut encoder = image::codecs::gif::GifEncoder::new_with_speed(&mut file, 30);
            encoder.encode_frame(frame).expect("a gif");
            drop(encoder);
            // The screen that the frame is shown on: one pixel.
            file[6..10].copy_from_slice(&[1, 0, 1, 0]);
            file
        };
        assert!(normalise(&gif(500, 500)).is_ok());
        let refused = normalise(&gif(5_001, 5_000));
        assert!(matches!(refused, Err(Error::Invalid(_))));
    }

    #[test]
    fn a_large_image_has_the_colours_of_its_profile_too() {
        let p3 = ColorProfile::new_display_p3().encode().expect("a profile");
        let pixel = |side| {
            let mut file = Vec::new();
            let mut encoder = JpegEncoder::new_with_quality(&mut file, 100);
            let set = image::ImageEncoder::set_icc_profile(&mut encoder, p3.clone());
            set.expect("a profile");
            let orange = image::RgbImage::from_pixel(side, side, image::Rgb([255, 128, 0]));
            orange.write_with_encoder(encoder).expect("a jpeg");
            let (encoded, _) = normalise(&file).expect("an image");
            let image = image::load_from_memory(&encoded).expect("an image");
            image.to_rgb8().get_pixel(32, 32).0
        };
        assert_eq!(pixel(MAX_SIDE + 64), pixel(64));
    }

    #[test]
    fn a_line_of_pixels_is_an_image() {
        // As many as the longest side of the formats other than PNG.
        for (width, height) in [(65_535, 1), (1, 65_535), (4_096, 2)] {
            let (encoded, _) = normalise(&png(width, height)).expect("an image");
            let scaled = image::load_from_memory(&encoded).expect("an image");
            assert_eq!(scaled.width().max(scaled.height()), MAX_SIDE);
            assert_eq!(scaled.width().min(scaled.height()), 1);
        }
    }

    #[test]
    fn what_is_no_image_is_refused() {
        for file in [&b""[..], b"GIF89a", b"<svg/>", &png(8, 8)[..40]] {
            assert!(matches!(normalise(file), Err(Error::Invalid(_))));
        }
    }

    #[test]
    fn an_image_of_too_many_pixels_is_refused_before_it_is_decoded() {
        assert!(matches!(
            normalise(&png(6_000, 5_000)),
            Err(Error::Invalid(_))
        ));
    }
}
