//! Tokens that calls share which say each for itself who calls.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::oauth::Tokens;
use super::{Credentials, TokenRequest};
use crate::error::{CallError, ErrorKind};
use crate::http::Transport;
use crate::secret::Secret;

/// So many kinds of tokens are kept; those that were not used for longest go.
const MOST: usize = 256;

/// Keeps the tokens of OAuth 2.0 while they live, by what they were asked for with. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Wallet(Arc<Mutex<VecDeque<Held>>>);

/// What was asked for, and what came of it.
type Held = (TokenRequest, Arc<Tokens>);

impl Wallet {
    /// The headers that credentials put into a request.
    ///
    /// # Errors
    /// As [`Credentials::headers`].
    pub async fn headers(
        &self,
        credentials: &Credentials,
        transport: &Transport,
    ) -> Result<Vec<(String, Secret)>, CallError> {
        let Credentials::OAuth(request) = credentials else {
            return credentials.clone().headers(transport).await;
        };
        let tokens = self.tokens(request, transport)?;
        let token = tokens.get().await.map_err(|unsigned| unsigned.error)?;
        Ok(token.signed.pairs.headers.clone())
    }

    /// Told that a service did not take what credentials put into a request (401). Whether something else can be had.
    #[must_use]
    pub fn rejected(&self, credentials: &Credentials, headers: &[(String, Secret)]) -> bool {
        let Credentials::OAuth(request) = credentials else { return false };
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, tokens)) = kept.iter().find(|(known, _)| known == &**request) else { return false };
        tokens.forget_headers(headers);
        true
    }

    fn tokens(&self, request: &TokenRequest, transport: &Transport) -> Result<Arc<Tokens>, CallError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|(known, _)| known == request);
        let one = match place.and_then(|place| kept.remove(place)) {
            Some(one) => one,
            None => {
                let refused = |message| CallError::new(ErrorKind::NoCredentials, "", message);
                (request.clone(), Arc::new(Tokens::new(request.clone(), transport).map_err(refused)?))
            }
        };
        let tokens = Arc::clone(&one.1);
        kept.push_back(one);
        if kept.len() > MOST {
            kept.pop_front();
        }
        Ok(tokens)
    }
}
