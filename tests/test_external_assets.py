"""The catalogue, what it finds missing, and fetching from a server on this machine that breaks off, stalls or lies."""

import fcntl
import hashlib
import http.server
import os
import re
import socket
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from external import assets, download
from external.assets import ASSETS, Asset, fetch
from external.download import AssetFile, FetchError

CONTENT = bytes(range(256)) * 5000
HASH = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves CONTENT. break_after: bytes of an answer after which it hangs up, or stops sending if `stalls`."""

    def __init__(self):
        self.content, self.break_after, self.status = CONTENT, None, None
        self.stalls, self.released = False, threading.Event()
        self.requests = 0
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
        self.requests += 1
        if self.status:
            handler.send_error(self.status)
            return
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(self.content)))
        handler.end_headers()
        handler.wfile.write(self.content if self.break_after is None else self.content[: self.break_after])
        if self.stalls:
            handler.wfile.flush()
            self.released.wait(30)
        handler.close_connection = True

    def close(self):
        self.released.set()
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


def test_fetch_makes_the_file_and_nothing_else(server, weights, tmp_path, capfd):
    assert fetch(weights, tmp_path).read_bytes() == CONTENT
    assert names_in(tmp_path / "net") == ["weights.pth"] and server.requests == 1
    assert fetch(weights, tmp_path) == tmp_path / "net" / "weights.pth"
    assert server.requests == 1 and capfd.readouterr() == ("", "")


def test_progress_is_shown_on_a_terminal(weights, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(download.sys.stderr, "isatty", lambda: True)
    fetch(weights, tmp_path)
    assert "100%" in capfd.readouterr().err


def test_what_a_killed_process_left_is_removed(weights, tmp_path):
    (tmp_path / "net" / ".partial").mkdir(parents=True)
    (tmp_path / "net" / ".partial" / "weights.pth").write_bytes(b"x" * 1000)
    assert fetch(weights, tmp_path).read_bytes() == CONTENT
    assert names_in(tmp_path / "net") == ["weights.pth"]


@pytest.mark.parametrize("sent", [0, 700_000])
def test_a_connection_that_breaks_leaves_nothing_behind(server, weights, tmp_path, sent):
    server.break_after = sent
    message = refusal(weights, tmp_path)
    assert "cannot be downloaded" in message and server.url in message
    assert str(tmp_path / "net" / "weights.pth") in message
    assert names_in(tmp_path / "net") == []
    server.break_after = None
    assert fetch(weights, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("sent", [0, 700_000])
def test_a_server_that_stops_sending_is_given_up(server, weights, tmp_path, monkeypatch, sent):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    server.break_after, server.stalls = sent, True
    message = refusal(weights, tmp_path)
    assert "cannot be downloaded" in message and "timed out" in message
    assert names_in(tmp_path / "net") == []


def test_an_interrupted_download_leaves_nothing_behind(server, weights, tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(download.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(weights, tmp_path)
    assert names_in(tmp_path / "net") == []


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"!", CONTENT + b"more", b""], ids=len)
def test_wrong_contents_leave_nothing_behind(server, weights, tmp_path, content):
    server.content = content
    message = refusal(weights, tmp_path)
    assert "sha256" in message and str(tmp_path / "net" / "weights.pth") in message
    assert names_in(tmp_path / "net") == []


def test_a_file_that_is_there_is_left_alone(server, weights, tmp_path):
    target = tmp_path / "net" / "weights.pth"
    target.parent.mkdir()
    target.write_bytes(b"my own")
    assert "6 bytes" in refusal(weights, tmp_path) and target.read_bytes() == b"my own"
    assert server.requests == 0


def test_errors_of_the_server_and_without_network_say_where_to_put_the_file(server, weights, tmp_path):
    server.status = 404
    target = str(tmp_path / "net" / "weights.pth")
    message = refusal(weights, tmp_path)
    assert "404" in message and target in message
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        offline = replace(weights, url=f"http://127.0.0.1:{free.getsockname()[1]}/weights.pth")
    message = refusal(offline, tmp_path)
    assert "cannot be downloaded" in message and "refused" in message and target in message and offline.url in message
    assert names_in(tmp_path / "net") == []


def test_two_at_once(weights, tmp_path):
    (tmp_path / "net").mkdir()
    held = os.open(tmp_path / "net", os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "another process" in refusal(weights, tmp_path)
    finally:
        os.close(held)
    assert names_in(tmp_path / "net") == []
    assert fetch(weights, tmp_path).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made(weights, tmp_path):
    (tmp_path / "net").write_text("a file")
    assert "cannot be written" in refusal(weights, tmp_path)


def test_a_missing_library_is_named(weights, tmp_path, monkeypatch):
    monkeypatch.setitem(download.sys.modules, "pooch", None)
    message = refusal(weights, tmp_path)
    assert message.startswith("pooch is missing: pip install -r requirements.txt") and weights.url in message


def test_what_may_not_be_fetched_says_how_to_get_it(tmp_path):
    for asset in ASSETS:
        if asset.files and not asset.url and not asset.wheel:
            assert asset.step in refusal(asset, tmp_path)


# ---- catalogue -------------------------------------------------------------------------------------------------------


def test_the_catalogue_is_complete():
    assert len({asset.name for asset in ASSETS}) == len(ASSETS)
    for asset in ASSETS:
        assert asset.licence and asset.origin
        assert asset.url or asset.step or asset.package or asset.wheel or "this project" in asset.origin
        assert all(re.fullmatch("|[0-9a-f]{64}", file.sha256) for file in asset.files)
        assert not asset.makes or any(file.path == asset.makes for other in ASSETS for file in other.files)
        assert not asset.url or (len(asset.files) == 1 and asset.files[0].sha256)
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


@pytest.mark.parametrize("setting", ["gcc -m64", ""])
def test_doctor_names_the_compiler_that_builds_the_renderer(empty, monkeypatch, setting):
    """CC may hold arguments, or nothing."""
    monkeypatch.setenv("CC", setting)
    (line,) = (line for line in assets.doctor(empty) if line.startswith("compiler"))
    assert re.search(r"\d+\.\d+", line) and "apt-get" not in line


def test_doctor_on_a_folder_with_files(empty, capsys):
    put(empty, *ALWAYS, assets.FACE_MODEL)
    assert assets.main(["doctor", "--assets", str(empty)]) == 0
    text = capsys.readouterr().out
    assert f"[ok]      Deep3DFaceRecon weights: {empty / 'deep3dfacerecon/epoch_latest.pth'}" in text
    assert "BFM_UV.mat, differs from the published file (1 bytes, not 779401)" in text
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


def test_commercial_use_of_weights_trained_on_research_pictures_is_unsettled():
    (line,) = (line for line in assets.table() if line.startswith("| HED"))
    assert "| unsettled, see docs/licences.md |" in line
    (entry,) = assets.used_by("hed")
    assert entry["commercial_use"] == "unsettled, see docs/licences.md" and entry["non_commercial"] is False
    assert "commercial_use" not in assets.used_by("mtcnn")[0]


def test_licences_page_has_the_table():
    page = (assets.ROOT / "docs" / "licences.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in page if line.startswith("|")] == assets.table()


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
