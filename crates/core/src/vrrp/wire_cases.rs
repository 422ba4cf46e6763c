[
    // (version, checksum, password, the message that keepalived 2.4.3 sent, centiseconds of advert_int)
    (VrrpVersion::V2, V3Checksum::PseudoHeader, None, "213364010001a8650a63c8010000000000000000", 100),
    (VrrpVersion::V2, V3Checksum::PseudoHeader, Some(*b"s3cretpw"), "213364010101fad30a63c8017333637265747077", 100),
    (VrrpVersion::V3, V3Checksum::PseudoHeader, None, "31336401000aad690a63c801", 10),
    (VrrpVersion::V3, V3Checksum::PseudoHeader, None, "313364010064ad0f0a63c801", 100),
]
