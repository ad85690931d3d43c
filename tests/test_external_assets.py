"""The catalogue, what it finds missing, and fetching from a server on this machine that breaks off, resumes or lies."""

import fcntl
import hashlib
import http.server
import re
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from external import assets
from external.assets import ASSETS, Asset, AssetFile, FetchError, fetch

CONTENT = bytes(range(256)) * 5000
HASH = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves CONTENT. break_after: bytes of an answer after which it hangs up. ranges: whether it honours them."""

    def __init__(self):
        self.content, self.break_after, self.ranges, self.status = CONTENT, None, True, None
        self.requests = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *arguments):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/weights.pth"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, handler):
        wanted = handler.headers.get("Range")
        self.requests.append(wanted)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.ranges else 0
        if self.status or start >= len(self.content):
            handler.send_error(self.status or 416)
            return
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body if self.break_after is None else body[: self.break_after])
        handler.close_connection = True

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server()
    yield running
    running.close()


@pytest.fixture
def weights(server):
    return Asset("weights", "test", "MIT", "here", files=(AssetFile("net/weights.pth", len(CONTENT), HASH),), url=server.url)


def refusal(asset, folder):
    with pytest.raises(FetchError) as raised:
        fetch(asset, folder)
    message = str(raised.value)
    assert "\n" not in message
    return message


def names_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


# ---- fetching --------------------------------------------------------------------------------------------------------


def test_fetch_makes_the_file_and_nothing_else(server, weights, tmp_path):
    assert fetch(weights, tmp_path).read_bytes() == CONTENT
    assert names_in(tmp_path / "net") == ["weights.pth"] and server.requests == [None]
    assert fetch(weights, tmp_path) == tmp_path / "net" / "weights.pth"
    assert len(server.requests) == 1


def test_fetch_goes_on_where_it_was_interrupted(server, weights, tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "weights.pth.part").write_bytes(CONTENT[:700_000])
    assert fetch(weights, tmp_path).read_bytes() == CONTENT
    assert server.requests == ["bytes=700000-"] and names_in(tmp_path / "net") == ["weights.pth"]


def test_fetch_survives_connections_that_break(server, weights, tmp_path):
    server.break_after = 500_000
    assert fetch(weights, tmp_path).read_bytes() == CONTENT
    assert server.requests == [None, "bytes=500000-", "bytes=1000000-"]


@pytest.mark.parametrize("known", [True, False])
def test_fetch_gives_up_when_nothing_comes_and_keeps_the_part(server, weights, tmp_path, known):
    """Also where neither size nor checksum are known, only what the server says."""
    if not known:
        weights = replace(weights, files=(AssetFile("net/weights.pth"),))
    (tmp_path / "net").mkdir()
    part = tmp_path / "net" / "weights.pth.part"
    part.write_bytes(CONTENT[:1000])
    server.break_after = 0
    message = refusal(weights, tmp_path)
    assert "broke after 1000 bytes" in message and "the same command goes on" in message
    assert len(server.requests) == assets.ATTEMPTS
    assert part.read_bytes() == CONTENT[:1000] and names_in(tmp_path / "net") == ["weights.pth.part"]
    server.break_after = None
    assert fetch(weights, tmp_path).read_bytes() == CONTENT


def test_fetch_without_ranges_begins_again(server, weights, tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "weights.pth.part").write_bytes(b"x" * 1000)
    server.ranges = False
    assert fetch(weights, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("begun", [b"x" * 1000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 5)], ids=len)
def test_a_part_of_something_else_is_replaced(server, weights, tmp_path, begun):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "weights.pth.part").write_bytes(begun)
    assert fetch(weights, tmp_path).read_bytes() == CONTENT
    assert names_in(tmp_path / "net") == ["weights.pth"]


def test_a_part_longer_than_an_unknown_file_is_replaced(server, weights, tmp_path):
    weights = replace(weights, files=(AssetFile("net/weights.pth", None, HASH),))
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "weights.pth.part").write_bytes(b"x" * (len(CONTENT) + 5))
    assert fetch(weights, tmp_path).read_bytes() == CONTENT
    assert server.requests == [f"bytes={len(CONTENT) + 5}-", None]


def test_wrong_contents_leave_nothing_behind(server, weights, tmp_path):
    server.content = CONTENT[:-1] + b"!"
    message = refusal(weights, tmp_path)
    assert "sha256" in message and str(tmp_path / "net" / "weights.pth") in message
    assert names_in(tmp_path / "net") == []


def test_another_size_is_refused_before_it_is_loaded(server, weights, tmp_path):
    server.content = CONTENT + b"more"
    assert f"offers {len(CONTENT) + 4} bytes, weights has {len(CONTENT)}" in refusal(weights, tmp_path)
    assert names_in(tmp_path / "net") == []


def test_a_file_that_is_there_is_left_alone(server, weights, tmp_path):
    target = tmp_path / "net" / "weights.pth"
    target.parent.mkdir()
    target.write_bytes(b"my own")
    assert "6 bytes" in refusal(weights, tmp_path) and target.read_bytes() == b"my own"
    assert server.requests == []


def test_errors_of_the_server_and_without_network_say_where_to_put_the_file(server, weights, tmp_path):
    server.status = 404
    target = str(tmp_path / "net" / "weights.pth")
    message = refusal(weights, tmp_path)
    assert "404" in message and target in message
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        offline = replace(weights, url=f"http://127.0.0.1:{free.getsockname()[1]}/weights.pth")
    message = refusal(offline, tmp_path)
    assert "cannot be reached" in message and target in message and offline.url in message
    assert names_in(tmp_path / "net") == []


def test_two_at_once(weights, tmp_path):
    (tmp_path / "net").mkdir()
    with (tmp_path / "net" / "weights.pth.part").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another process" in refusal(weights, tmp_path)
        assert names_in(tmp_path / "net") == ["weights.pth.part"]


def test_a_folder_that_cannot_be_made(weights, tmp_path):
    (tmp_path / "net").write_text("a file")
    assert "cannot be written" in refusal(weights, tmp_path)


def test_what_may_not_be_fetched_says_how_to_get_it(tmp_path):
    for asset in ASSETS:
        if asset.files and not asset.url:
            assert asset.step in refusal(asset, tmp_path)


# ---- catalogue -------------------------------------------------------------------------------------------------------


def test_the_catalogue_is_complete():
    assert len({asset.name for asset in ASSETS}) == len(ASSETS)
    for asset in ASSETS:
        assert asset.licence and asset.origin and (asset.url or asset.step or asset.package or "this project" in asset.origin)
        assert all(re.fullmatch("|[0-9a-f]{64}", file.sha256) for file in asset.files)
        assert not asset.makes or any(file.path == asset.makes for other in ASSETS for file in other.files)
        assert not asset.url or len(asset.files) == 1
    parts = {asset.used_by for asset in ASSETS}
    assert parts >= {"mtcnn", "face_mesh", "sample_photos", "vgg16", "deep3dfacerecon", "arcface", "ostec", "nvdiffrast"}


def test_used_by():
    entries = assets.used_by("mtcnn", "vgg16", "deep3dfacerecon")
    assert all({"name", "used_by", "licence", "origin", "non_commercial"} <= set(entry) for entry in entries)
    by_part = {entry["used_by"]: entry for entry in entries}
    assert by_part["mtcnn"]["version"] and "version" not in by_part["vgg16"]
    assert by_part["mtcnn"]["non_commercial"] is False
    assert any(entry["non_commercial"] for entry in entries if entry["used_by"] == "deep3dfacerecon")
    assert not any("Exp_Pca" in entry["name"] or "index" in entry["name"] for entry in entries)
    assert assets.used_by("nothing") == []


@pytest.fixture
def empty(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "assets"


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"1")


MAKING = ("BFM/01_MorphableModel.mat", "BFM/Exp_Pca.bin", "BFM/BFM_exp_idx.mat", "BFM/facemodel_info.mat", "BFM/std_exp.txt")
ALWAYS = ("BFM/BFM_front_idx.mat", "BFM/BFM_UV.mat", "deep3dfacerecon/epoch_latest.pth")


def test_missing_names_every_file_once_with_its_next_step(empty):
    lines = [line for part in ("deep3dfacerecon", "vgg16", "mtcnn") for line in assets.missing_files(part, empty)]
    assert len(lines) == len(MAKING + ALWAYS) + 1
    for name in (*MAKING, *ALWAYS, assets.VGG16):
        (line,) = (line for line in lines if line.startswith(f"{empty / name}:"))
        assert "\n" not in line and len(line) > len(name) + 20
    assert any("assets fetch vgg16" in line for line in lines)


def test_a_face_model_that_is_made_needs_nothing_to_make_it(empty):
    put(empty, *ALWAYS)
    assert len(assets.missing_files("deep3dfacerecon", empty)) == len(MAKING)
    put(empty, *MAKING)
    assert assets.missing_files("deep3dfacerecon", empty) == []
    for name in MAKING:
        (empty / name).unlink()
    put(empty, assets.FACE_MODEL)
    assert assets.missing_files("deep3dfacerecon", empty) == []


def test_an_empty_folder_is_missing(empty):
    (empty / "ostec").mkdir(parents=True)
    assert len(assets.missing_files("ostec", empty)) == 1
    put(empty, "ostec/a.png")
    assert assets.missing_files("ostec", empty) == []


def test_vgg16_is_found_where_torchvision_keeps_it(empty):
    own = empty / assets.VGG16
    assert assets.vgg16_path(empty) == own
    put(assets.torchvision_folder(), assets.VGG16)
    assert assets.vgg16_path(empty) == assets.torchvision_folder() / assets.VGG16
    assert assets.missing_files("vgg16", empty) == []
    put(empty, assets.VGG16)
    assert assets.vgg16_path(empty) == own


def test_relative_folders_are_the_project_s():
    assert assets.assets_folder() == assets.ROOT / "data" == Path(assets.__file__).resolve().parents[1] / "data"
    assert assets.assets_folder("/elsewhere") == Path("/elsewhere")
    assert assets.assets_folder("~/assets") == Path.home() / "assets"


# ---- commands --------------------------------------------------------------------------------------------------------


def test_doctor_on_an_empty_folder(empty, capsys):
    assert assets.main(["doctor", "--assets", str(empty)]) == 0
    lines = capsys.readouterr().out.splitlines()
    text = "\n".join(lines)
    for word in ("Python", "torch", "CUDA", "compiler", "nvcc", "nvdiffrast"):
        assert any(line.startswith(word) for line in lines)
    for asset in ASSETS:
        assert any(asset.name in line and re.match(r"  \[(ok|missing)\]", line) for line in lines)
    assert text.count("next: ") == text.count("[missing]") >= 8
    assert not empty.exists()


def test_doctor_on_a_folder_with_files(empty, capsys):
    put(empty, *ALWAYS, assets.FACE_MODEL)
    assert assets.main(["doctor", "--assets", str(empty)]) == 0
    text = capsys.readouterr().out
    assert f"[ok]      Deep3DFaceRecon weights: {empty / 'deep3dfacerecon/epoch_latest.pth'}" in text
    assert "BFM_UV.mat, not the published one (1 bytes, not 779401)" in text
    assert "01_MorphableModel.mat" not in text and "not needed" in text
    (empty / assets.FACE_MODEL).unlink()
    put(empty, *MAKING)
    assets.main(["doctor", "--assets", str(empty)])
    assert "will be made by the first run" in capsys.readouterr().out


def test_table(capsys):
    assert assets.main(["table"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(ASSETS) + 2 and len({line.count("|") for line in lines}) == 1
    assert all(asset.name in line for asset, line in zip(ASSETS, lines[2:], strict=True))


def test_fetch_command(monkeypatch, weights, tmp_path, capsys):
    monkeypatch.setattr(assets, "ASSETS", (*ASSETS[:1], weights, replace(weights, name="own", used_by="own", url="", step="buy")))
    assert assets.main(["fetch", "--assets", str(tmp_path)]) == 0
    assert "weights.pth" in capsys.readouterr().out
    assert assets.main(["fetch", "own", "test", "--assets", str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert output.err == "error: own cannot be fetched (MIT): buy\n" and "weights.pth" in output.out
    for wrong in (["fetch", "nothing"], ["doctor", "vgg16"], ["feed"]):
        with pytest.raises(SystemExit) as left:
            assets.main(wrong)
        assert left.value.code == 2
