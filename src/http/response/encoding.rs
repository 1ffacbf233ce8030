//! Which encoding of a body a client is given. Pure.

use actix_web::http::header::{AcceptEncoding, ContentEncoding, Encoding};

/// Smallest body that is compressed, in bytes: less fits into a packet anyway.
pub(crate) const BODY_BYTES_MIN: u64 = 1_024;

/// What the client likes best of what we have; nothing, where it likes none of it or says nothing.
pub(crate) fn negotiate(accepted: Option<&AcceptEncoding>) -> ContentEncoding {
    let ours = [Encoding::identity(), Encoding::brotli(), Encoding::gzip()];
    match accepted.and_then(|accepted| accepted.negotiate(ours.iter())) {
        Some(Encoding::Known(encoding)) => encoding,
        _ => ContentEncoding::Identity,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::HttpMessage as _;
    use actix_web::http::header;
    use actix_web::test::TestRequest;

    #[test]
    fn the_clients_wish_is_followed_where_it_can_be() {
        for (wish, expected) in [
            ("gzip", ContentEncoding::Gzip),
            ("gzip, deflate, br, zstd", ContentEncoding::Brotli),
            ("br;q=0.1, gzip;q=0.9", ContentEncoding::Gzip),
            ("identity", ContentEncoding::Identity),
            ("zstd", ContentEncoding::Identity),
            ("identity;q=0, *;q=0", ContentEncoding::Identity),
            ("gzip;q=0", ContentEncoding::Identity),
        ] {
            let request = TestRequest::get()
                .insert_header((header::ACCEPT_ENCODING, wish))
                .to_srv_request();
            let accepted = request.get_header::<AcceptEncoding>();
            assert_eq!(negotiate(accepted.as_ref()), expected, "{wish:?}");
        }
        assert_eq!(negotiate(None), ContentEncoding::Identity);
    }
}
