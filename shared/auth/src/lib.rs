//! Who is calling: token claims, their verification, and the axum extractor.
//!
//! Tokens are verified here with public keys and cannot be made: the users service is the only
//! signer. A session that ended is known from the feed of revoked sessions; when that feed has
//! been silent for [`FEED_PATIENCE`], nothing is believed any more (503 rather than a guess).

mod caller;
mod claims;
mod follow;
mod revoked;
mod verifier;

pub use caller::{Caller, bearer};
pub use claims::{Claims, TokenType};
pub use follow::{follow_keys, follow_revocations};
pub use revoked::FEED_PATIENCE;
pub use verifier::{AuthSettings, TokenError, Verifier};
