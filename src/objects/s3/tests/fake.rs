//! As much of S3 as the store uses, in memory: conditions, checksums, ranges, listings, parts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use super::super::put::base64;
use super::server::{Answer, Request, Server};
use crate::avro::sha256;

pub(super) struct Bucket {
    /// With the checksum as S3 says it.
    pub objects: BTreeMap<String, (Vec<u8>, String)>,
    pub uploads: BTreeMap<String, Upload>,
    begun: usize,
    /// Conditions on completing parts are not looked at.
    pub completes_anything: bool,
    /// Checksums are not looked at.
    pub believes_anything: bool,
    /// Keys are folders, which are listed by their names.
    pub lists_as_folders: bool,
    /// What it calls itself.
    pub name: &'static str,
    /// Keys that Object Lock keeps.
    pub locked: Vec<String>,
}

#[derive(Clone, Default)]
pub(super) struct Upload {
    pub key: String,
    pub parts: BTreeMap<usize, (Vec<u8>, String)>,
}

pub(super) fn serve() -> (Server, Arc<Mutex<Bucket>>) {
    let bucket = Arc::new(Mutex::new(Bucket {
        objects: BTreeMap::new(),
        uploads: BTreeMap::new(),
        begun: 0,
        completes_anything: false,
        believes_anything: false,
        lists_as_folders: false,
        name: "fake",
        locked: Vec::new(),
    }));
    let of_server = Arc::clone(&bucket);
    (
        Server::new(move |request| {
            let mut bucket = of_server.lock().unwrap();
            let answer = bucket.answer(request);
            answer.with("server", bucket.name)
        }),
        bucket,
    )
}

impl Bucket {
    fn answer(&mut self, request: &Request) -> Answer {
        let Some(key) = request.path.strip_prefix("/bucket") else { return Answer::refusal(404, "NoSuchBucket") };
        let key = key.trim_start_matches('/').to_owned();
        let upload = request.asks("uploadId");
        match (request.method.as_str(), upload) {
            ("GET", None) if key.is_empty() => self.of_bucket(request),
            ("POST", None) => {
                self.begun += 1;
                let id = format!("upload-{}", self.begun);
                self.uploads.insert(id.clone(), Upload { key, ..Upload::default() });
                xml("InitiateMultipartUploadResult", &format!("<UploadId>{id}</UploadId>"))
            }
            (_, Some(id)) if !self.uploads.contains_key(&id) => Answer::refusal(404, "NoSuchUpload"),
            ("PUT", Some(id)) => self.part(&id, request),
            ("GET", Some(id)) => self.parts(&id),
            ("POST", Some(id)) => self.complete(&id, request),
            ("DELETE", Some(id)) => {
                self.uploads.remove(&id);
                Answer::of(204, "")
            }
            ("PUT", None) => self.put(key, request),
            ("DELETE", None) if self.locked.contains(&key) => Answer::refusal(403, "AccessDenied"),
            ("DELETE", None) => {
                self.objects.remove(&key);
                Answer::of(204, "")
            }
            ("GET" | "HEAD", None) => self.read(&key, request),
            _ => Answer::refusal(501, "NotImplemented"),
        }
    }

    fn of_bucket(&self, request: &Request) -> Answer {
        let prefix = request.asks("prefix").unwrap_or_default();
        if request.asks("uploads").is_some() {
            let all = self.uploads.iter().filter(|(_, upload)| upload.key.starts_with(&prefix));
            let mut body = String::new();
            for (id, upload) in all {
                let _ = write!(body, "<Upload><Key>{}</Key><UploadId>{id}</UploadId></Upload>", upload.key);
            }
            return xml("ListMultipartUploadsResult", &body);
        }
        if request.asks("list-type").is_none() {
            return Answer::refusal(501, "NotImplemented");
        }
        let from = request.asks("continuation-token").or(request.asks("start-after")).unwrap_or_default();
        let limit: usize = request.asks("max-keys").unwrap().parse().unwrap();
        // As folders: the end of a name comes before any letter behind it.
        let order = |key: &str| if self.lists_as_folders { key.replace('/', "\u{1}") } else { key.to_owned() };
        let mut found: Vec<_> = self.objects.iter().filter(|(key, _)| key.starts_with(&prefix)).collect();
        found.retain(|(key, _)| order(key) > order(&from));
        found.sort_by_key(|(key, _)| order(key));
        let mut body = format!("<IsTruncated>{}</IsTruncated>", found.len() > limit);
        if let Some((last, _)) = found.get(limit - 1) {
            let _ = write!(body, "<NextContinuationToken>{last}</NextContinuationToken>");
        }
        for (key, (bytes, _)) in found.into_iter().take(limit) {
            let _ = write!(body, "<Contents><Key>{key}</Key><Size>{}</Size></Contents>", bytes.len());
        }
        xml("ListBucketResult", &body)
    }

    fn checks(&self, request: &Request) -> Option<Answer> {
        let sent = request.header("x-amz-checksum-sha256").expect("every object and part has its checksum");
        let is_right = base64(&sha256(&request.body)) == sent || self.believes_anything;
        (!is_right).then(|| Answer::refusal(400, "BadDigest"))
    }

    fn put(&mut self, key: String, request: &Request) -> Answer {
        assert_eq!(request.header("if-none-match"), Some("*"));
        if let Some(wrong) = self.checks(request) {
            return wrong;
        }
        if self.objects.contains_key(&key) {
            return Answer::refusal(412, "PreconditionFailed");
        }
        let sum = request.header("x-amz-checksum-sha256").unwrap().to_owned();
        self.objects.insert(key, (request.body.clone(), sum));
        Answer::of(200, "")
    }

    fn part(&mut self, id: &str, request: &Request) -> Answer {
        if let Some(wrong) = self.checks(request) {
            return wrong;
        }
        let number = request.asks("partNumber").unwrap().parse().unwrap();
        let sum = request.header("x-amz-checksum-sha256").unwrap().to_owned();
        let tag = format!("\"tag-{number}\"");
        self.uploads.get_mut(id).unwrap().parts.insert(number, (request.body.clone(), sum));
        Answer::of(200, "").with("etag", tag)
    }

    fn parts(&self, id: &str) -> Answer {
        let mut body = "<IsTruncated>false</IsTruncated>".to_owned();
        for (number, (bytes, sum)) in &self.uploads[id].parts {
            let size = bytes.len();
            let _ = write!(
                body,
                "<Part><PartNumber>{number}</PartNumber><ETag>\"tag-{number}\"</ETag><Size>{size}</Size>\
                 <ChecksumSHA256>{sum}</ChecksumSHA256></Part>"
            );
        }
        xml("ListPartsResult", &body)
    }

    fn complete(&mut self, id: &str, request: &Request) -> Answer {
        let upload = self.uploads[id].clone();
        assert_eq!(request.header("if-none-match"), Some("*"));
        if self.objects.contains_key(&upload.key) && !self.completes_anything {
            return Answer::refusal(412, "PreconditionFailed");
        }
        let named = String::from_utf8(request.body.clone()).unwrap().matches("<PartNumber>").count();
        assert_eq!(named, upload.parts.len());
        let bytes: Vec<u8> = upload.parts.values().flat_map(|(bytes, _)| bytes.clone()).collect();
        let digests: Vec<u8> = upload.parts.values().flat_map(|(bytes, _)| sha256(bytes)).collect();
        let sum = format!("{}-{}", base64(&sha256(&digests)), upload.parts.len());
        self.objects.insert(upload.key, (bytes, sum));
        self.uploads.remove(id);
        xml("CompleteMultipartUploadResult", "<ETag>\"all\"</ETag>")
    }

    fn read(&self, key: &str, request: &Request) -> Answer {
        let Some((bytes, sum)) = self.objects.get(key) else { return Answer::refusal(404, "NoSuchKey") };
        let Some(range) = request.header("range") else {
            let answer = Answer::of(200, bytes.clone());
            return match request.header("x-amz-checksum-mode") {
                Some(_) => answer.with("x-amz-checksum-sha256", sum).with("content-length", bytes.len().to_string()),
                None => answer,
            };
        };
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        if first >= bytes.len() {
            return Answer::refusal(416, "InvalidRange");
        }
        let last = last.min(bytes.len() - 1);
        let told = format!("bytes {first}-{last}/{}", bytes.len());
        Answer::of(206, &bytes[first..=last]).with("content-range", told)
    }
}

fn xml(name: &str, body: &str) -> Answer {
    Answer::of(200, format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><{name}>{body}</{name}>"))
}
