//! Files over HTTP, and who may have them.

use natter_test_support::{Friends, PNG, Person};
use reqwest::{
    Method, StatusCode,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::{friends, start};

#[tokio::test]
async fn an_upload_is_its_owners_until_it_is_sent() {
    let app = start().await;
    let Friends {
        alice,
        bob,
        channel,
    } = friends(&app).await;
    let eve = Person::sign_up(app.url(), "eve").await;
    let media = format!("{}/api/messages/media/", app.url());
    let (status, file) = alice
        .upload(&media, "file", "päper.png", b"0123456789")
        .await;
    assert_eq!(status, 201, "{file}");
    assert_eq!(
        (&file["filename"], &file["size"]),
        (&json!("päper.png"), &json!(10))
    );
    let url = file["file"].as_str().expect("a URL");
    assert_eq!(alice.download(url, None).await.status(), StatusCode::OK);
    assert_eq!(
        bob.download(url, None).await.status(),
        StatusCode::NOT_FOUND
    );
    let (status, missing) = alice.upload(&media, "other", "a.txt", b"x").await;
    assert_eq!((status, &missing["code"]), (400, &json!("file_required")));

    let messages = format!(
        "{}/api/messages/status/friendship/{channel}/messages/",
        app.url()
    );
    let body = json!({"media": [{"id": file["id"]}], "client_id": "a-1"});
    let (status, refused) = bob.post(&messages, body.clone()).await;
    assert_eq!(
        (status.as_u16(), &refused["code"]),
        (400, &json!("media_not_found"))
    );
    let (status, item) = alice.post(&messages, body).await;
    assert_eq!(status.as_u16(), 201, "{item}");
    assert_eq!(item["message"]["media"][0]["file"], file["file"]);
    assert_eq!(
        eve.download(url, None).await.status(),
        StatusCode::NOT_FOUND
    );

    let whole = bob.download(url, None).await;
    assert_eq!(whole.headers()["content-type"], "image/png");
    let disposition = whole.headers()["content-disposition"]
        .to_str()
        .expect("text")
        .to_owned();
    assert_eq!(
        disposition,
        "inline; filename=\"p_per.png\"; filename*=UTF-8''p%C3%A4per.png"
    );
    for (range, status, content_range, body) in [
        ("bytes=2-4", 206, "bytes 2-4/10", "234"),
        ("bytes=-3", 206, "bytes 7-9/10", "789"),
        ("bytes=8-", 206, "bytes 8-9/10", "89"),
    ] {
        let part = bob.download(url, Some(range)).await;
        assert_eq!(part.status().as_u16(), status, "{range}");
        assert_eq!(part.headers()["content-range"], content_range);
        assert_eq!(part.text().await.expect("a body"), body);
    }
    assert_eq!(
        bob.download(url, Some("bytes=99-")).await.status().as_u16(),
        416
    );
    assert_eq!(
        bob.download(url, Some("lines=1-2")).await.status().as_u16(),
        200
    );

    // Files go with a message over HTTP too.
    let (status, item) = alice.upload(&messages, "files", "b.txt", b"two").await;
    assert_eq!(status, 201, "{item}");
    assert_eq!(item["message"]["content"], "with a file");
    assert_eq!(item["message"]["media"][0]["filename"], "b.txt");
}

#[tokio::test]
async fn a_file_is_what_it_is_and_has_a_harmless_name() {
    let app = start().await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let url = format!("{}/api/messages/media/", app.url());
    let png = PNG.to_vec();
    let html = b"<!DOCTYPE html><script>alert(1)</script>".to_vec();
    // The part's header as it is sent, its content type, its bytes; the name and type, and how shown.
    for (described, claimed, bytes, name, kind, how) in [
        (
            &br#"filename="blob""#[..],
            Some("image/png"),
            &png,
            "blob",
            "image/png",
            "inline",
        ),
        (
            br#"filename="blob""#,
            Some("audio/ogg; codecs=opus"),
            &b"OggS\0\x02\0\0".to_vec(),
            "blob",
            "audio/ogg",
            "inline",
        ),
        (
            br#"filename="a.png""#,
            Some("image/png"),
            &html,
            "a.png",
            "text/html",
            "attachment",
        ),
        (
            br#"filename="app.ts""#,
            None,
            &b"export {}".to_vec(),
            "app.ts",
            "text/plain",
            "attachment",
        ),
        (
            br#"filename="x"; filename*=UTF-8''na%C3%AFve.txt"#,
            None,
            &b"x".to_vec(),
            "naïve.txt",
            "text/plain",
            "attachment",
        ),
        (
            b"filename=\"na\xefve.txt\"",
            None,
            &b"x".to_vec(),
            "naïve.txt",
            "text/plain",
            "attachment",
        ),
        (
            br#"filename="=?UTF-8?B?bmHDr3ZlLnR4dA==?=""#,
            None,
            &b"x".to_vec(),
            "naïve.txt",
            "text/plain",
            "attachment",
        ),
        (
            br#"filename="C:\dir\a.txt""#,
            None,
            &b"x".to_vec(),
            "a.txt",
            "text/plain",
            "attachment",
        ),
        (
            br#"filename="../../etc/a.txt""#,
            None,
            &b"x".to_vec(),
            "a.txt",
            "text/plain",
            "attachment",
        ),
        (
            br#"filename="say %22hi%22.txt""#,
            None,
            &b"x".to_vec(),
            "say \"hi\".txt",
            "text/plain",
            "attachment",
        ),
        (
            "filename=\"a\u{202e}txt.exe\"".as_bytes(),
            None,
            &b"x".to_vec(),
            "atxt.exe",
            "application/octet-stream",
            "attachment",
        ),
    ] {
        let mut body = b"--b\r\nContent-Disposition: form-data; name=\"file\"; ".to_vec();
        body.extend_from_slice(described);
        body.extend_from_slice(b"\r\n");
        if let Some(claimed) = claimed {
            body.extend_from_slice(format!("Content-Type: {claimed}\r\n").as_bytes());
        }
        body.extend_from_slice(b"\r\n");
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n--b--\r\n");
        let request = alice.http.post(&url).bearer_auth(&alice.access);
        let request = request.header("content-type", "multipart/form-data; boundary=b");
        let answer = request.body(body).send().await.expect("an answer");
        let shown = String::from_utf8_lossy(described).into_owned();
        assert_eq!(answer.status(), 201, "{shown}");
        let file: Value = answer.json().await.expect("JSON");
        assert_eq!(
            (&file["filename"], &file["content_type"]),
            (&json!(name), &json!(kind)),
            "{shown}"
        );
        let got = alice
            .download(file["file"].as_str().expect("a URL"), None)
            .await;
        assert_eq!(got.headers()["content-type"], kind);
        let disposition = got.headers()["content-disposition"]
            .to_str()
            .expect("ASCII");
        assert!(
            disposition.starts_with(&format!("{how}; filename=\"")),
            "{disposition}"
        );
        assert!(disposition.contains("; filename*=UTF-8''"), "{disposition}");
    }
}

#[tokio::test]
async fn a_range_that_is_none_is_the_whole_file() {
    let app = start().await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let media = format!("{}/api/messages/media/", app.url());
    let (_, file) = alice.upload(&media, "file", "a.txt", b"0123456789").await;
    let url = file["file"].as_str().expect("a URL");
    for (range, status, body) in [
        ("bytes=5-2", 200, "0123456789"),
        ("bytes=0-4,2-6", 200, "0123456789"),
        ("bytes=0-1,8-9", 200, "0123456789"),
        ("bytes=a-b", 200, "0123456789"),
        ("lines=1-2", 200, "0123456789"),
        ("bytes=2-5", 206, "2345"),
        ("bytes=8-100", 206, "89"),
        ("bytes=-3", 206, "789"),
        ("bytes=5-", 206, "56789"),
    ] {
        let answer = alice.download(url, Some(range)).await;
        assert_eq!(answer.status().as_u16(), status, "{range}");
        assert_eq!(answer.text().await.expect("a body"), body, "{range}");
    }
    // A range is asked for by GET alone, and not on a condition that nothing can meet.
    for (method, header) in [(Method::HEAD, "x-none"), (Method::GET, "if-range")] {
        let asked = alice
            .http
            .request(method.clone(), url)
            .bearer_auth(&alice.access);
        let asked = asked.header("range", "bytes=0-1").header(header, "\"a\"");
        let answer = asked.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{method}");
    }
    for range in ["bytes=10-", "bytes=-0"] {
        assert_eq!(
            alice.download(url, Some(range)).await.status(),
            416,
            "{range}"
        );
    }
}

#[tokio::test]
async fn a_file_that_reads_like_a_refusal_is_given_out_as_it_is() {
    let app = start().await;
    let alice = Person::sign_up(app.url(), "alice").await;
    let media = format!("{}/api/messages/media/", app.url());
    let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let (_, file) = alice.upload(&media, "file", "answer.txt", answer).await;
    let url = file["file"].as_str().expect("a URL");
    // Twice, on one connection: nothing is left on it.
    for _ in 0..2 {
        let downloaded = alice.download(url, None).await;
        assert_eq!(downloaded.status(), 200);
        assert_eq!(downloaded.bytes().await.expect("a body"), answer[..]);
    }
}

#[tokio::test]
async fn a_form_whose_file_was_not_chosen_sends_its_text() {
    let app = start().await;
    let Friends { alice, channel, .. } = friends(&app).await;
    let url = format!(
        "{}/api/messages/status/friendship/{channel}/messages/",
        app.url()
    );
    let (status, item) = alice.upload(&url, "file", "", b"").await;
    assert_eq!(status, 201, "{item}");
    assert_eq!(
        (&item["message"]["content"], &item["message"]["media"]),
        (&json!("with a file"), &json!([]))
    );
    let media = format!("{}/api/messages/media/", app.url());
    let (status, missing) = alice.upload(&media, "file", "", b"").await;
    assert_eq!((status, &missing["code"]), (400, &json!("file_required")));
}

/// Inputs left empty do not count, every file does, and any other field sent twice is refused.
#[tokio::test]
async fn a_form_is_taken_whole_or_refused() {
    let app = start().await;
    let Friends { alice, channel, .. } = friends(&app).await;
    let send = format!(
        "{}/api/messages/status/friendship/{channel}/messages/",
        app.url()
    );
    let media = format!("{}/api/messages/media/", app.url());
    let file = |name: &str| Part::bytes(name.as_bytes().to_vec()).file_name(name.to_owned());
    let post = async |url: &str, form: Form| {
        let request = alice.http.post(url).bearer_auth(&alice.access);
        let answer = request.multipart(form).send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.expect("JSON"))
    };

    let form = Form::new()
        .part("file", file("a.txt"))
        .part("file", file("b.txt"));
    let empty = ["client_id", "reply_to", "media"];
    let form = empty.iter().fold(form, |form, name| form.text(*name, ""));
    let (status, item) = post(&send, form).await;
    assert_eq!(status, 201, "{item}");
    let names = ["a.txt", "b.txt"].map(|name| json!(name));
    let sent = item["message"]["media"].as_array().expect("a list");
    let sent: Vec<Value> = sent.iter().map(|file| file["filename"].clone()).collect();
    assert_eq!(sent, names);

    let form = Form::new()
        .part("file", file("a.txt"))
        .part("file", file("b.txt"));
    let (status, refused) = post(&media, form).await;
    assert_eq!((status, &refused["code"]), (400, &json!("file_required")));
    let form = Form::new()
        .part("file", file("a.txt"))
        .part("other", file("b.txt"));
    let (status, refused) = post(&media, form).await;
    assert_eq!((status, &refused["code"]), (400, &json!("file_required")));
    let not_chosen = Part::bytes(Vec::new()).file_name("");
    let form = Form::new()
        .part("file", not_chosen)
        .part("file", file("a.txt"));
    let (status, uploaded) = post(&media, form).await;
    assert_eq!((status, &uploaded["filename"]), (201, &json!("a.txt")));
    for texts in [["", "said"], ["said", ""]] {
        let form = texts.into_iter();
        let form = form.fold(Form::new(), |form, text| form.text("payload", text));
        let (status, item) = post(&send, form).await;
        assert_eq!(status, 201, "{item}");
        assert_eq!(item["message"]["content"], "said");
    }
    let form = Form::new().text("payload", "one").text("payload", "two");
    let (status, refused) = post(&send, form).await;
    assert_eq!((status, &refused["code"]), (400, &json!("invalid_message")));
}
