"""Tags of client addresses: equal for equal ones, and of no use without the key."""

from authz.identity.sources import MOST, SourceTags


def test_a_tag_tells_one_source_from_another_and_not_which_it_is() -> None:
    tags = SourceTags(b"k" * 32)
    assert tags.tag("10.0.0.7") == tags.tag("10.0.0.7") == "362d52478a055e66"
    assert tags.tag("10.0.0.8") != tags.tag("10.0.0.7")
    assert SourceTags(b"l" * 32).tag("10.0.0.7") != tags.tag("10.0.0.7")


def test_an_unknown_source_has_no_tag() -> None:
    assert SourceTags(b"k" * 32).tag("") == ""


def test_few_addresses_are_kept() -> None:
    tags = SourceTags(b"k" * 32)
    made = {tags.tag(f"10.0.{number >> 8}.{number & 255}") for number in range(MOST + 10)}
    assert len(made) == MOST + 10
    assert tags.tag.cache_info().currsize == MOST
