//! The layer behind hyper's HTTP/1.1, over a pipe in memory.

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::scene::*;

const HEAD: &str = "POST /pay HTTP/1.1\r\nhost: h\r\nidempotency-key: k\r\n";

impl Scene {
    /// A connection to the layer.
    fn connect(&self) -> DuplexStream {
        let (client, server) = tokio::io::duplex(1 << 16);
        let service = hyper_util::service::TowerToHyperService::new(self.service.clone());
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(server), service);
        tokio::spawn(async move {
            let _client_left = connection.await;
        });
        client
    }

    async fn exchange(&self, request: &str) -> String {
        let mut connection = self.connect();
        connection.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut connection).await
    }
}

async fn read_to_end(connection: &mut DuplexStream) -> String {
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

async fn read_some(connection: &mut DuplexStream) -> String {
    let mut answer = vec![0; 4096];
    let length = connection.read(&mut answer).await.unwrap();
    String::from_utf8(answer[..length].to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn htp_05_a_key_that_is_wrong_is_refused_without_100() {
    let scene = Scene::new();
    let request = "POST / HTTP/1.1\r\nhost: h\r\nidempotency-key: \"\r\nexpect: 100-continue\r\n\
                   content-length: 4\r\nconnection: close\r\n\r\n";
    let answer = scene.exchange(request).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_eq!(scene.runs(), 0);
}

#[tokio::test(start_paused = true)]
async fn htp_05_a_good_request_gets_100_and_so_does_its_replay() {
    let scene = Scene::new();
    for _ in 0..2 {
        let mut connection = scene.connect();
        let head =
            format!("{HEAD}expect: 100-continue\r\ncontent-length: 4\r\nconnection: close\r\n\r\n");
        connection.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(read_some(&mut connection).await, "HTTP/1.1 100 Continue\r\n\r\n");
        connection.write_all(b"body").await.unwrap();
        let answer = read_to_end(&mut connection).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    }
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn exe_05_a_hang_up_after_the_request_cancels_nothing() {
    let scene = Scene::new();
    scene.plan(slow(secs(5), answer(201, &[], "made")));
    let mut connection = scene.connect();
    let request = format!("{HEAD}content-length: 4\r\n\r\nbody");
    connection.write_all(request.as_bytes()).await.unwrap();
    pass(secs(1)).await;
    drop(connection);
    pass(secs(5)).await;
    let again =
        scene.exchange(&format!("{HEAD}content-length: 4\r\nconnection: close\r\n\r\nbody")).await;
    assert!(again.starts_with("HTTP/1.1 201") && again.ends_with("made"), "{again}");
    assert!(again.contains("idempotent-replayed: true"));
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn exe_06_a_hang_up_within_the_request_runs_nothing() {
    let scene = Scene::new();
    for head in ["content-length: 4\r\n\r\nbo", "transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n"] {
        let mut connection = scene.connect();
        connection.write_all(format!("{HEAD}{head}").as_bytes()).await.unwrap();
        pass(secs(1)).await;
        drop(connection);
        settle_down().await;
        assert_eq!((scene.runs(), scene.guard.in_flight()), (0, 0));
    }
    let again =
        scene.exchange(&format!("{HEAD}content-length: 4\r\nconnection: close\r\n\r\nbody")).await;
    assert!(again.starts_with("HTTP/1.1 200"), "{again}");
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn fpr_04_chunked_and_by_length_are_one_request() {
    let scene = Scene::new();
    let by_length = format!("{HEAD}content-length: 4\r\nconnection: close\r\n\r\nbody");
    let chunked = format!(
        "{HEAD}transfer-encoding: chunked\r\nconnection: close\r\n\r\n1\r\nb\r\n3\r\nody\r\n0\r\n\r\n"
    );
    assert!(!scene.exchange(&by_length).await.contains("idempotent-replayed"));
    assert!(scene.exchange(&chunked).await.contains("idempotent-replayed"));
    assert_eq!(scene.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn rep_03_replays_are_framed_by_hyper() {
    let request = format!("{HEAD}content-length: 0\r\nconnection: close\r\n\r\n");
    for (status, body, framing) in [(200, "done", Some("content-length: 4")), (204, "", None)] {
        let scene = Scene::new();
        let lines = [("transfer-encoding", "chunked")];
        scene.plan(answer(status, if status == 200 { &lines } else { &[] }, body));
        scene.exchange(&request).await;
        let again = scene.exchange(&request).await;
        assert!(again.contains("idempotent-replayed: true"), "{again}");
        assert!(!again.contains("transfer-encoding"), "{again}");
        match framing {
            Some(line) => assert!(again.contains(line), "{again}"),
            None => assert!(!again.contains("content-length"), "{again}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rep_11_trailers_are_sent_to_clients_that_take_them() {
    let scene = Scene::new();
    let body = [Piece::Data("body"), Piece::Trailer("x-sum", "42")];
    scene.plan(answer_of(200, &[("trailer", "x-sum")], pieces(&body)));
    let takes = format!("{HEAD}te: trailers\r\ncontent-length: 0\r\nconnection: te, close\r\n\r\n");
    for replayed in [false, true] {
        let answer = scene.exchange(&takes).await;
        assert_eq!(answer.contains("idempotent-replayed"), replayed);
        assert!(answer.ends_with("4\r\nbody\r\n0\r\nx-sum: 42\r\n\r\n"), "{answer}");
    }
    let plain = format!("{HEAD}content-length: 0\r\nconnection: close\r\n\r\n");
    let answer = scene.exchange(&plain).await;
    assert!(answer.ends_with("4\r\nbody\r\n0\r\n\r\n"), "{answer}");
    assert!(!answer.contains("x-sum: 42"));
}

#[tokio::test(start_paused = true)]
async fn rep_12_a_hang_up_within_a_large_answer_reads_it_to_its_end() {
    let scene = Scene::new();
    let scene = scene.under(hapax_tower::Rules { response_body_max: 4, ..Default::default() });
    let body = [
        vec![Piece::Data("0123456789"); 3],
        vec![Piece::Wait(secs(5))],
        vec![Piece::Data("end"); 50],
    ];
    scene.plan(answer_of(201, &[], pieces(&body.concat())));
    let mut connection = scene.connect();
    let request = format!("{HEAD}content-length: 0\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    assert!(read_some(&mut connection).await.starts_with("HTTP/1.1 201"));
    drop(connection);
    pass(secs(6)).await;
    assert_eq!(scene.guard.in_flight(), 0);
    let again = scene.exchange(&request).await;
    assert!(again.starts_with("HTTP/1.1 410"), "{again}");
    assert_eq!(scene.runs(), 1);
}
