"""What is to be done for each face, and what a fingerprint tells apart."""

from pipeline.reconstruction.photos import Subject
from pipeline.settings.schema import Config
from pipeline.texture.tasks import ContentImages, plan_tasks


def test_a_file_that_is_read_as_something_else_is_another_input(tmp_path):
    """The same bytes as content.png and as mask.png give different results."""
    for name in ("mesh.obj", "camera.json", "photo.png", "content.png"):
        (tmp_path / name).write_text(name)
    subject, content = Subject("a", tmp_path, "a"), ContentImages(None)
    fingerprint = lambda: plan_tasks([subject], content, Config(), "", tmp_path)[0][0].fingerprint
    before = fingerprint()
    assert fingerprint() == before
    (tmp_path / "content.png").rename(tmp_path / "mask.png")
    assert fingerprint() != before
