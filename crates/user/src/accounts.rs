//! Registration and login: an e-mail's owner may lie in another cluster than the account, so both go in steps that can
//! be repeated.

mod attempts;
mod login;
mod passwords;
mod registration;

pub use attempts::FailedLogins;
pub use login::{LoginError, log_in};
pub use passwords::{PasswordError, Passwords};
pub use registration::{RegisterError, Registration, claim_email, finish, register, repeated};
