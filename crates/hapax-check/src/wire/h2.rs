//! An HTTP/2 client over cleartext with prior knowledge.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;

use super::endpoint::Endpoint;
use super::h1::WireError;
use super::message::{Answer, Ending, Request};

/// One HTTP/2 connection; clones of the sender share it.
#[derive(Clone)]
pub(crate) struct Connection2 {
    sender: SendRequest<Bytes>,
    authority: String,
}

impl Connection2 {
    /// Opens a connection and waits until the peer's first SETTINGS proved that it speaks HTTP/2.
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self, WireError> {
        let opening = async {
            let io = endpoint.connect().await.map_err(|error| error.to_string())?;
            let (sender, connection) =
                h2::client::handshake(io).await.map_err(|error| error.to_string())?;
            tokio::spawn(connection);
            sender.ready().await.map_err(|error| error.to_string())
        };
        match tokio::time::timeout(Duration::from_secs(25), opening).await {
            Ok(Ok(sender)) => Ok(Self { sender, authority: endpoint.authority() }),
            Ok(Err(error)) => Err(WireError::Connect(error)),
            Err(_) => Err(WireError::Connect("timed out".to_owned())),
        }
    }

    /// Sends a request on a stream of its own and reads the answer to its end.
    pub(crate) async fn exchange(
        &self,
        request: &Request,
        within: Duration,
    ) -> Result<Answer, WireError> {
        match tokio::time::timeout(within, self.run(request)).await {
            Ok(done) => done,
            Err(_) => Err(WireError::Late(within)),
        }
    }

    async fn run(&self, request: &Request) -> Result<Answer, WireError> {
        let reset = |error: h2::Error| WireError::Reset(error.to_string());
        let mut head = http::Request::builder()
            .method(request.method.as_str())
            .version(http::Version::HTTP_2)
            .uri(format!("http://{}{}", self.authority, request.target));
        for (name, value) in &request.fields {
            if !name.eq_ignore_ascii_case("host") {
                head = head.header(name.to_ascii_lowercase(), value.as_slice());
            }
        }
        let head = head.body(()).map_err(|error| WireError::Garbage(error.to_string()))?;
        let content = request.content();
        let mut sender = self.sender.clone().ready().await.map_err(reset)?;
        let (answer, mut stream) = sender.send_request(head, content.is_empty()).map_err(reset)?;
        if !content.is_empty() {
            stream.send_data(content, true).map_err(reset)?;
        }
        let (parts, mut body) = answer.await.map_err(reset)?.into_parts();
        let fields = parts
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect();
        let mut content = Vec::new();
        let mut ending = Ending::Complete;
        while let Some(piece) = body.data().await {
            let Ok(piece) = piece else {
                ending = Ending::Cut;
                break;
            };
            let _ = body.flow_control().release_capacity(piece.len());
            content.extend_from_slice(&piece);
        }
        Ok(Answer {
            interim: Vec::new(),
            status: parts.status.as_u16(),
            fields,
            body: Bytes::from(content),
            trailers: Vec::new(),
            ending,
        })
    }
}
