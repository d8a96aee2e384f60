//! Where the media store is.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use clap::Args;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder,
    local::LocalFileSystem,
};

/// An S3 service that is not there is `unavailable` well before a request's deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest wait for an answer to begin (for an upload that includes sending it), and between
/// two parts of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_TIMEOUT: Duration = Duration::from_secs(5);
const RETRIES: usize = 2;

/// A folder or an S3 bucket. Has no `Debug`: a secret is in it.
#[derive(Args, Clone)]
#[group(skip)]
pub struct MediaSettings {
    /// Folder of the media store; this or NATTER_MEDIA_S3_BUCKET
    #[arg(long, env = "NATTER_MEDIA_DIR")]
    media_dir: Option<PathBuf>,

    /// S3 bucket of the media store
    #[arg(long, env = "NATTER_MEDIA_S3_BUCKET")]
    media_s3_bucket: Option<String>,

    /// URL of the S3 service; without it AWS
    #[arg(long, env = "NATTER_MEDIA_S3_ENDPOINT")]
    media_s3_endpoint: Option<String>,

    /// Region of the bucket
    #[arg(long, env = "NATTER_MEDIA_S3_REGION", default_value = "us-east-1")]
    media_s3_region: String,

    /// Access key id for the bucket; without it the credentials of the machine's IAM role are used
    #[arg(
        long,
        env = "NATTER_MEDIA_S3_ACCESS_KEY_ID",
        requires = "media_s3_secret_access_key"
    )]
    media_s3_access_key_id: Option<String>,

    /// Secret access key that belongs to NATTER_MEDIA_S3_ACCESS_KEY_ID
    #[arg(long, env = "NATTER_MEDIA_S3_SECRET_ACCESS_KEY")]
    media_s3_secret_access_key: Option<String>,
}

impl MediaSettings {
    /// The store, and what to call it in a message.
    pub(crate) fn open(&self) -> anyhow::Result<(Arc<dyn ObjectStore>, String)> {
        match (&self.media_dir, &self.media_s3_bucket) {
            (Some(folder), None) => {
                let name = format!("NATTER_MEDIA_DIR={}", folder.display());
                let fail = || format!("{name} cannot be written to");
                std::fs::create_dir_all(folder).with_context(fail)?;
                let store = LocalFileSystem::new_with_prefix(folder).with_context(fail)?;
                Ok((Arc::new(store.with_fsync(true)), name))
            }
            (None, Some(bucket)) => {
                Ok((self.s3(bucket)?, format!("NATTER_MEDIA_S3_BUCKET={bucket}")))
            }
            (None, None) => bail!("set NATTER_MEDIA_DIR or NATTER_MEDIA_S3_BUCKET"),
            (Some(_), Some(_)) => {
                bail!("set NATTER_MEDIA_DIR or NATTER_MEDIA_S3_BUCKET, not both")
            }
        }
    }

    fn s3(&self, bucket: &str) -> anyhow::Result<Arc<dyn ObjectStore>> {
        let client = ClientOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            // No limit on a whole transfer: it takes as long as the file's size and its reader
            // need.
            .with_timeout_disabled()
            .with_read_timeout(READ_TIMEOUT);
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: RETRIES,
            retry_timeout: RETRY_TIMEOUT,
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&self.media_s3_region)
            .with_client_options(client)
            .with_retry(retry);
        if let Some(endpoint) = &self.media_s3_endpoint {
            builder = builder
                .with_endpoint(endpoint)
                .with_allow_http(endpoint.starts_with("http://"));
        }
        if let Some(id) = &self.media_s3_access_key_id {
            builder = builder.with_access_key_id(id);
        }
        if let Some(secret) = &self.media_s3_secret_access_key {
            builder = builder.with_secret_access_key(secret);
        }
        let store = builder
            .build()
            .context("the NATTER_MEDIA_S3_… settings cannot be used")?;
        Ok(Arc::new(store))
    }
}
