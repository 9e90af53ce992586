import pytest

from skyeye.data.formats.base.problems import BadRecord
from skyeye.data.formats.detection.xml_objects import read_xml
from skyeye.errors import SkyEyeError

BOX = "<bndbox><xmin>20</xmin><ymin>10</ymin><xmax>60</xmax><ymax>60</ymax></bndbox>"


def thing(name="ship", box=BOX, more=""):
    return f"<object><name>{name}</name>{box}{more}</object>"


def write(folder, name, *things, size="<size><width>200</width><height>100</height></size>", file="Annotations"):
    (folder / file).mkdir(parents=True, exist_ok=True)
    text = f"<annotation><filename>{name}.jpg</filename>{size}{''.join(things)}</annotation>"
    (folder / file / f"{name}.xml").write_text(text)


def test_dior(tmp_path, write_images, read):
    names = ("00001", "00002", "11726", "00009")
    write_images(tmp_path, *(f"JPEGImages-trainval/{name}.jpg" for name in names[:3]), size=(200, 100))
    for name in names[:3]:
        write(tmp_path, name, thing("Expressway-Service-area"), file="Annotations/Horizontal Bounding Boxes")
        write(tmp_path, name, thing("ship"), thing("ship"), file="Annotations/Oriented Bounding Boxes")
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    for split, listed in {"train": "00001\n", "val": "00002", "test": "11726 1\n"}.items():
        (tmp_path / f"ImageSets/Main/{split}.txt").write_text(listed)
    records, skipped = read("voc", tmp_path)
    assert not skipped
    refer = [(r.split, r.references["phrase"], r.turns[0].answer) for r in records if r.task == "refer"]
    assert sum(r.task == "identify" for r in records) == 3  # the oriented boxes are the same objects once more
    assert refer == [(s, "the expressway service area", "{<10><10><30><60>}") for s in ("train", "val", "test")]
    assert {r.split for r in read("voc", tmp_path, split="val")[0]} == {"val"}


def test_images_in_no_list_are_told(tmp_path, write_images, items):
    write_images(tmp_path, "1.jpg", "2.jpg", size=(200, 100))
    write(tmp_path, "1", thing())
    write(tmp_path, "2", thing(), thing("car"))
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/test.txt").write_text("1\n")
    records, skipped = items("voc", tmp_path)
    assert {r.split for r in records} == {"test"} and skipped == {"no split": 2}


def test_fair1m(tmp_path, write_images, read):
    write_images(tmp_path, "images/7.tif", size=(200, 100))
    (tmp_path / "labelXml").mkdir()
    points = "".join(f"<point>{p}</point>" for p in ("20,30", "40,10", "60,30", "40,50", "20,30"))
    name = "<possibleresult><name>Cargo Truck</name></possibleresult>"
    text = f"<objects><object><type>rectangle</type>{name}<points>{points}</points></object></objects>"
    (tmp_path / "labelXml/7.xml").write_text(
        f"<annotation><source><filename>7.tif</filename></source>{text}</annotation>"
    )
    records, skipped = read("fair1m", tmp_path)
    assert not skipped
    assert [r.turns[0].answer for r in records if r.task == "refer"] == ["{<10><10><30><50>}"]
    assert [r.turns[0].answer for r in records if r.task == "identify"] == ["a cargo truck"]
    assert records[0].references["polygons"] == [[0.1, 0.3, 0.2, 0.1, 0.3, 0.3, 0.2, 0.5]]


def test_split_folders_and_the_size_of_the_image(tmp_path, write_images, read):
    write_images(tmp_path, "val/1.jpg", size=(100, 100))
    write(tmp_path, "1", thing(), size="", file="val")
    records, _ = read("voc", tmp_path)
    assert {(r.split, r.references["boxes"][0][2]) for r in records} == {("val", 0.6)}


def test_what_does_not_fit_is_told(tmp_path, write_images, items):
    write_images(tmp_path, "1.jpg", "3.jpg", size=(200, 100))
    points = "<points><point>1,1</point><point>2</point></points>"
    bad = [thing(""), thing(box=""), thing(box=BOX.replace("20", "a")), thing(box=BOX.replace("20", "nan"))]
    bad += [thing(box=points), thing(box=BOX.replace("20", "99")), thing(more="<difficult>1</difficult>")]
    write(tmp_path, "1", thing(), *bad)
    write(tmp_path, "2", thing(), thing())
    (tmp_path / "Annotations/3.xml").write_text("<annotation><filename>3.jpg")
    (tmp_path / "Annotations/4.xml").write_text("<annotation><object/></annotation>")
    (tmp_path / "Annotations/5.xml").write_text("")
    (tmp_path / "Annotations/6.xml").write_bytes("<annotation>é</annotation>".encode("latin-1"))
    records, skipped = items("voc", tmp_path)
    assert sum(r.task == "identify" for r in records) == 1
    assert skipped == {
        "unknown class": 1,
        "malformed box": 4,
        "inverted box": 1,
        "difficult": 1,
        "missing image": 2,
        "unreadable file": 3,
        "not a record": 1,
    }


def test_small_files_that_would_grow_are_refused(tmp_path, items):
    entities = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    (tmp_path / "1.xml").write_text(f'<!DOCTYPE x [<!ENTITY a0 "ha">{entities}]><annotation>&a9;</annotation>')
    (tmp_path / "2.xml").write_text(
        '<!DOCTYPE x [<!ENTITY a "2.jpg">]><annotation><filename>&a;</filename></annotation>'
    )
    assert items("voc", tmp_path) == ([], {"unreadable file": 2})


def test_no_files(tmp_path, read):
    with pytest.raises(SkyEyeError, match="no .*xml file"):
        read("voc", tmp_path)


def test_a_link_to_nothing_is_told_in_words(tmp_path):
    (tmp_path / "a.xml").symlink_to("nowhere")
    with pytest.raises(BadRecord, match="a.xml: cannot be read: No such file or directory$"):
        read_xml(tmp_path / "a.xml")
