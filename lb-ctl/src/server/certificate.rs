//! The names in a certificate (RFC 5280).

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// DNS names and URIs (section 4.2.1.6); the common name of the subject (section 4.1.2.6) where there are none.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    let alternative = certificate.valid_dns_names().chain(certificate.valid_uri_names());
    let names: Vec<String> = alternative.map(Into::into).collect();
    match names.is_empty() {
        true => common_name(certificate.subject()).into_iter().collect(),
        false => names,
    }
}

/// The common name among the attributes of a name, in DER.
fn common_name(mut name: &[u8]) -> Option<String> {
    while let Some((SET, mut attributes, rest)) = value(name) {
        name = rest;
        while let Some((SEQUENCE, attribute, rest)) = value(attributes) {
            attributes = rest;
            let (tag, kind, content) = value(attribute)?;
            if (tag, kind) == (OBJECT_IDENTIFIER, COMMON_NAME) {
                let (_, text, _) = value(content)?;
                return std::str::from_utf8(text).ok().map(Into::into);
            }
        }
    }
    None
}

/// Tag and content of the first value, and what follows it (X.690 section 8.1).
fn value(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(&length, rest)| (usize::from(length), rest))?,
        0x82 => {
            rest.split_first_chunk().map(|(&length, rest)| (usize::from(u16::from_be_bytes(length)), rest))?
        }
        _ => return None, // No name is longer.
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

const SET: u8 = 0x31;
const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
/// 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(common_name: &str, alternative: Vec<SanType>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "example");
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = alternative;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn alternative_names_take_the_place_of_the_common_one() {
        let dns = SanType::DnsName("ops.example".try_into().unwrap());
        let uri = SanType::URI("spiffe://example/ops".try_into().unwrap());
        assert_eq!(names(&certificate("ops", vec![])), ["ops"]);
        assert_eq!(names(&certificate("ops", vec![dns, uri])), ["ops.example", "spiffe://example/ops"]);
        assert_eq!(names(&certificate(&"x".repeat(300), vec![])), ["x".repeat(300)]);
    }

    #[test]
    fn what_is_cut_off_has_no_other_name() {
        let der = certificate("ops", vec![]);
        let certificate = EndEntityCert::try_from(&der).unwrap();
        let subject = certificate.subject();
        for end in 0..subject.len() {
            let name = common_name(&subject[..end]);
            assert!(name.is_none_or(|name| name == "ops"), "cut at {end}");
        }
    }
}
