import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skyeye.data.formats.base.image_folder import BESIDE, ImageFolder, ImageLookup, list_images
from skyeye.data.formats.base.problems import BadRecord
from skyeye.errors import SkyEyeError


@pytest.fixture
def root(tmp_path, write_images):
    write_images(
        tmp_path / "images",
        "train/0001.png",
        "val/0001.png",
        "Beach/beach_1.jpg",
        "one.tif",
        "both.jpg",
        "both.png",
        "v1.2.png",
    )
    write_images(tmp_path, "secret.png")
    return tmp_path / "images"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("one.tif", "one.tif"),
        ("one", "one.tif"),
        ("one.jpg", "one.tif"),  # converted since the annotation was written
        ("ONE.TIF", "one.tif"),
        ("UCMerced/one.tif", "one.tif"),
        ("/home/author/data/one.tif", "one.tif"),
        ("data\\one.tif", "one.tif"),
        ("./one.tif", "one.tif"),
        ("beach_1.jpg", "Beach/beach_1.jpg"),
        ("AID/Beach/beach_1", "Beach/beach_1.jpg"),
        ("train/0001.png", "train/0001.png"),
        ("val/0001", "val/0001.png"),
        ("both.png", "both.png"),
        ("v1.2", "v1.2.png"),
    ],
)
def test_found(root, name, found):
    assert ImageFolder(root).find(name, "here") == str(root / found)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("two.tif", "missing image"),
        ("test/0001.png", "missing image"),  # never that of train or val
        ("Airport/beach_1.jpg", "missing image"),
        ("", "missing image"),
        ("../secret.png", "missing image"),
        ("train/../../secret.png", "missing image"),
        ("train/../one.tif", "missing image"),
        ("secret.png", "missing image"),
        ("0001.png", "ambiguous image"),
        ("both", "ambiguous image"),
    ],
)
def test_not_found(root, name, kind):
    with pytest.raises(BadRecord) as error:
        ImageFolder(root).find(name, "here")
    assert error.value.kind == kind
    assert str(error.value).startswith("here: image ")


@given(st.text(alphabet="./\\secrt01ngpone\0~", max_size=30))
def test_no_name_leaves_the_folder(tmp_path_factory, name):
    root = tmp_path_factory.getbasetemp() / "inside"
    root.mkdir(exist_ok=True)
    (root / "one.png").touch()
    (root.parent / "secret.png").touch()
    try:
        found = ImageFolder(root).find(name, "here")
    except BadRecord:
        return
    assert os.path.realpath(found) == os.path.realpath(root / "one.png")


def test_absolute_path_of_a_real_file_is_not_followed(root):
    secret = str(root.parent / "secret.png")
    with pytest.raises(BadRecord, match="outside the folder that this source may read: set `images: /`"):
        ImageFolder(root).find(secret, "here")
    (root / "leads_out.png").symlink_to(secret)
    with pytest.raises(BadRecord, match="outside the folder"):
        ImageFolder(root / "train").find(str(root / "leads_out.png"), "here")


def test_absolute_names_below_the_folder_are_those_files(root):
    name = str(root / "train" / "0001.png")
    assert ImageFolder(root).find(name, "here") == name  # by its end alone it could be val/0001.png of another machine
    assert ImageFolder(root.parent).find(name, "here") == name


def test_below_the_root_of_the_disk_only_absolute_names_are_looked_for(root, monkeypatch):
    monkeypatch.setattr(os, "walk", lambda *args, **options: pytest.fail("the whole disk is listed"))
    disk = ImageFolder("/")
    assert disk.find(str(root / "one.tif"), "here") == str(root / "one.tif")
    for name, reason in (
        ("one.tif", "is not absolute"),
        (str(root / "two.tif"), "is not there"),
        ("/etc/passwd", "is not"),
    ):
        with pytest.raises(BadRecord, match=reason) as error:
            disk.find(name, "here")
        assert error.value.kind == "missing image"
    assert ImageFolder("/", keep_absent=True).find("/x/two.tif", "here") == "absent:/x/two.tif"


def test_links_are_followed_and_circles_are_not(root, write_images):
    write_images(root.parent / "elsewhere", "far.png")
    (root / "linked").symlink_to(root.parent / "elsewhere")
    (root / "again").symlink_to(root.parent / "elsewhere")
    (root.parent / "elsewhere" / "back").symlink_to(root)
    names = [str(path) for path in list_images(root)]
    assert names.count("linked/far.png") == names.count("again/far.png") == 1
    assert len(names) == 9


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(SkyEyeError, match="nowhere: the image folder does not exist .*images:"):
        ImageFolder(tmp_path / "nowhere").find("a", "here")


def test_an_image_that_is_not_there_is_kept_by_its_name_where_that_was_asked_for(root, tmp_path):
    for lookup in (ImageLookup(str(root), keep_absent=True), ImageLookup(keep_absent=True)):
        folder = lookup.folder(root)
        assert folder.find("gone.png", "here") == "absent:gone.png"
        assert folder.find("train/0001.png", "here") == str(root / "train/0001.png")
        with pytest.raises(BadRecord, match="leaves the image folder"):
            folder.find("../gone.png", "here")
    assert ImageLookup(keep_absent=True).folder(tmp_path / "nowhere").find("a", "here") == "absent:a"
    with pytest.raises(BadRecord, match="is not in"):
        BESIDE.folder(root).find("gone.png", "here")


def test_names_that_differ_in_capitals_alone(tmp_path, write_images):
    write_images(tmp_path, "a/pier.png", "b/Pier.png", "b/pier.PNG")
    folder = ImageFolder(tmp_path)
    assert folder.find("b/Pier.png", "here") == str(tmp_path / "b/Pier.png")
    assert folder.find("pier.PNG", "here") == str(tmp_path / "b/pier.PNG")
    with pytest.raises(BadRecord, match="2 files"):
        folder.find("b/PIER.png", "here")


@pytest.mark.parametrize(("on_disk", "written"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_of_other_systems(tmp_path, write_images, on_disk, written):
    file = unicodedata.normalize(on_disk, "Zürich/façade_é.png")
    write_images(tmp_path, file)
    asked = unicodedata.normalize(written, "zürich/Façade_é.jpg")
    assert ImageFolder(tmp_path).find(asked, "here") == str(tmp_path / file)


def test_what_macos_leaves_in_archives_is_no_picture(tmp_path):
    for name in ("a.png", "._a.png", "__MACOSX/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert ImageFolder(tmp_path).find("a.png", "x") == str(tmp_path / "a.png")
    with pytest.raises(SkyEyeError, match="is a file, not the folder of the images"):
        ImageFolder(tmp_path / "a.png").find("a.png", "x")
