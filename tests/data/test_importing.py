"""`zsbench data import`: whatever tool has written a folder, the card says the same of every pixel."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zsbench.data.card import load_card
from zsbench.data.importing import Wishes, import_data
from zsbench.dataset import IGNORE
from zsbench.errors import UserError

HEIGHT, WIDTH = 24, 32
TREE, ROAD = (10, 200, 30), (250, 10, 10)


def tree_and_road():
    """bool (H, W) of a tree above and a road below it on the left; the rest is neither."""
    tree, road = np.zeros((2, HEIGHT, WIDTH), bool)
    tree[:12], road[12:, :20] = True, True
    return tree, road


def expected(rest):
    """The label map of classes tree, road with `rest` elsewhere."""
    tree, road = tree_and_road()
    return np.where(tree, 0, np.where(road, 1, rest))


def photo(path, turn=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(turn).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    return path


def mask(path, values, colours=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.asarray(values, np.uint8)
    Image.fromarray(values if colours is None else np.array(colours, np.uint8)[values]).save(path)
    return path


def imported(source, tmp_path, **wishes):
    """The dataset that the card of `source` describes, and what was said of it."""
    out = tmp_path / "out" / "mine.toml"
    lines = import_data(str(source), out, Wishes(**wishes))
    return load_card(out)(None), "\n".join(lines)


def labels(dataset):
    """By split and id the label map in names, "" where ignored."""
    names = np.array([*dataset.classes, ""])
    return {
        (split, name): names[dataset.read(split, name).label] for split in dataset.splits for name in dataset.ids(split)
    }


def in_names(rest):
    return np.array(["tree", "road", rest])[expected(2)]


@pytest.fixture
def exported(tmp_path):
    """A function that lets datumaro write a data set of three images in a format of its."""
    dm = pytest.importorskip("datumaro", reason="datumaro writes these inputs: pip install 'zsbench[import]'")

    def export(kind, names=("tree", "road"), colours=(TREE, ROAD), **words):
        tree, road = tree_and_road()
        masks = [dm.Mask(each, label=index, id=index + 1, group=index + 1) for index, each in enumerate((tree, road))]
        items = [
            dm.DatasetItem(
                id=f"img{number}",
                subset="train" if number else "val",
                media=dm.Image.from_numpy(np.full((HEIGHT, WIDTH, 3), 50 * number, np.uint8)),
                annotations=masks,
            )
            for number in range(3)
        ]
        categories = {
            dm.AnnotationType.label: dm.LabelCategories.from_iterable(names),
            dm.AnnotationType.mask: dm.MaskCategories(dict(enumerate(colours))),
        }
        data = dm.Dataset.from_iterable(items, categories=categories)
        data.export(str(tmp_path / kind), kind, save_media=True, **words)
        return tmp_path / kind

    return export


KEYS = [("train", "img1"), ("train", "img2"), ("val", "img0")]


@pytest.mark.parametrize("kind", ["voc_segmentation", "coco_instances", "coco_panoptic", "camvid", "datumaro"])
def test_what_datumaro_writes_is_read_pixel_by_pixel(exported, tmp_path, kind):
    words = {"label_map": "source"} if kind == "voc_segmentation" else {}
    dataset, said = imported(exported(kind, **words), tmp_path)
    has_background = kind in ("voc_segmentation", "camvid")
    found = labels(dataset)
    assert sorted(found) == KEYS and ("read by datumaro" in said) == (kind != "coco_instances")
    for each in found.values():
        np.testing.assert_array_equal(each, in_names("background" if has_background else ""))
    assert dataset.background == ("background" if has_background else None)
    if has_background:
        assert dataset.palette[dataset.classes.index("tree")] == TREE
        assert "background  background, which also has the pixels without annotation" in said
    else:
        assert "ignored     pixels without annotation: 18.8 % of the pixels" in said


def test_label_0_of_cvat_need_not_be_background_and_colours_may_be_any(exported, tmp_path):
    folder = exported("voc_segmentation", label_map="source")
    lines = ["road:250,10,10::", "tree:10,200,30::", "void:0,0,0::"]
    (folder / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "\n".join(lines) + "\n")
    archive = tmp_path / "job.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in folder.rglob("*"):
            packed.write(path, path.relative_to(folder.parent))
    dataset, said = imported(archive, tmp_path, unseen=("tree",))
    assert dataset.classes == ("road", "tree") and dataset.unseen == ("tree",) and dataset.background is None
    np.testing.assert_array_equal(labels(dataset)["val", "img0"], in_names(""))
    assert "ignored     void, pixels without annotation: 18.8 %" in said and "unseen      tree" in said
    assert not list((tmp_path / "out").glob(".import-*"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda f: (f / "labelmap.txt").write_text("tree:10,200,30::\nroad:10,200,30::\n"),
            "tree and road have the same",
        ),
        (
            lambda f: (f / "labelmap.txt").write_text("tree:10,200,30::\n"),
            r"SegmentationClass.img\d\.png: the colour \(\d+, \d+, \d+\) is that of no class in labelmap.txt. Add a line",
        ),
        (lambda f: (f / "JPEGImages/img1.jpg").unlink(), "1 images are not there, such as img1: export with images"),
        (lambda f: photo(f / "JPEGImages/img1.jpg").write_bytes(b"x"), r"img1\.jpg: no image in a known format"),
        (lambda f: (f / "SegmentationClass/img2.png").write_bytes(b"x"), r"img2\.png: no mask in a known format"),
    ],
)
def test_what_is_wrong_with_a_cvat_export_is_one_message(exported, tmp_path, change, told):
    folder = exported("voc_segmentation", label_map="source")
    for path in (folder / "SegmentationObject").iterdir():
        path.unlink()
    change(folder)
    with pytest.raises(UserError, match=told):
        imported(folder, tmp_path)
    assert not list((tmp_path / "out").iterdir()), "nothing is left behind"


def cvat_masks(folder, lists, classes=("tree", "road")):
    """What CVAT writes as "segmentation mask 1.1": in `lists` the names of the images of each list."""
    pytest.importorskip("datumaro", reason="datumaro reads these inputs: pip install 'zsbench[import]'")
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    for name, images in lists.items():
        (folder / f"ImageSets/Segmentation/{name}.txt").write_text("\n".join(images) + "\n")
        for image in images:
            photo(folder / f"JPEGImages/{image}.jpg")
            mask(folder / f"SegmentationClass/{image}.png", expected(2), (TREE, ROAD, (0, 0, 0)))
    colours = zip((*classes, "background"), (TREE, ROAD, (0, 0, 0)), strict=True)
    (folder / "labelmap.txt").write_text("".join(f"{name}:{r},{g},{b}::\n" for name, (r, g, b) in colours))


def test_all_jobs_of_cvat_below_a_folder_are_read(tmp_path):
    cvat_masks(tmp_path / "x/job_1", {"default": ["a"]})
    cvat_masks(tmp_path / "x/train/job_2", {"default": ["a"]})
    found = labels(imported(tmp_path / "x", tmp_path)[0])
    assert sorted(found) == [("train", "train/job_2/a"), ("val", "job_1/a")]
    for each in found.values():
        np.testing.assert_array_equal(each, in_names("background"))
    cvat_masks(tmp_path / "x/job_3", {"default": ["b"]}, classes=("road", "tree"))
    with pytest.raises(
        UserError, match=r"job_1 and .*job_3 differ in their classes or the order of these: import each"
    ):
        imported(tmp_path / "x", tmp_path / "again")


def test_images_in_a_list_that_is_called_like_no_split_are_kept(tmp_path):
    cvat_masks(tmp_path / "x", {"train": ["a"], "holdout": ["b", "c"], "trainval": ["a", "b"]})
    dataset, said = imported(tmp_path / "x", tmp_path)
    assert sorted(labels(dataset)) == [("train", "a"), ("val", "b"), ("val", "c")]
    assert re.search(r"2 images in lists of no split, such as (holdout|trainval)\.txt, are in val", said)


def test_an_image_in_two_lists_of_a_split_is_one_message(tmp_path):
    cvat_masks(tmp_path / "x", {"val": ["a"], "valid": ["a"]})
    with pytest.raises(UserError, match=r"a\.jpg is listed twice in the split val, as a: leave one of them out"):
        imported(tmp_path / "x", tmp_path)


def cvat_xml(folder, content):
    """What CVAT writes for images or videos of `WIDTH` x `HEIGHT`, with the classes tree and road."""
    pytest.importorskip("datumaro", reason="datumaro reads these inputs: pip install 'zsbench[import]'")
    names = "".join(f"<label><name>{name}</name><attributes></attributes></label>" for name in ("tree", "road"))
    size = f"<original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size>"
    (folder / "annotations.xml").write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task>'
        f"<labels>{names}</labels>{size}</task></meta>{content}</annotations>"
    )


TREES_OUTLINE = f'points="0,0;{WIDTH},0;{WIDTH},12;0,12"'


def test_shapes_of_cvat_without_pixels_are_counted_and_images_without_shapes_kept(tmp_path):
    for name in "abc":
        photo(tmp_path / f"x/images/{name}.png")
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    shapes = (
        f'<polygon label="tree" {TREES_OUTLINE}></polygon><box label="road" xtl="1" ytl="1" xbr="9" ybr="9"></box>'
        '<ellipse label="road" cx="5" cy="5" rx="2" ry="2"></ellipse><points label="road" points="1,1"></points><tag '
        'label="road"></tag>'
    )
    empty = f'<image id="1" name="b.png" {size}></image>'
    cvat_xml(tmp_path / "x", f'<image id="0" name="a.png" {size}>{shapes}</image>{empty}')
    dataset, said = imported(tmp_path / "x", tmp_path)
    found = labels(dataset)
    np.testing.assert_array_equal(found["val", "a"], np.where(tree_and_road()[0], "tree", ""))
    assert len(found) == 2 and (found["val", "b"] == "").all()
    assert "1 images that its XML does not name are left out" in said
    assert "annotations that say nothing of pixels are left out: 1 bbox, 1 ellipse, 1 points" in said


def test_what_has_left_a_video_of_cvat_is_not_painted(tmp_path):
    shapes = ""
    for frame in range(2):
        photo(tmp_path / f"x/images/frame_00000{frame}.png")
        state = f'frame="{frame}" keyframe="1" outside="{frame}"'
        shapes += f'<polygon {state} {TREES_OUTLINE}></polygon><ellipse {state} cx="5" cy="5" rx="2" ry="2"></ellipse>'
    cvat_xml(tmp_path / "x", f'<track id="0" label="tree">{shapes}</track>')
    dataset, said = imported(tmp_path / "x", tmp_path)
    there, gone = (labels(dataset)["val", f"frame_00000{frame}"] for frame in range(2))
    np.testing.assert_array_equal(there, np.where(tree_and_road()[0], "tree", ""))
    assert (gone == "").all() and "left out: 1 ellipse" in said


def test_category_0_of_coco_is_a_class_and_its_folders_may_be_any(tmp_path):
    tree, road = [[0, 0, WIDTH, 0, WIDTH, 12, 0, 12]], [[0, 12, 20, 12, 20, HEIGHT, 0, HEIGHT]]
    content = {
        "images": [{"id": 7, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 0, "name": "tree"}, {"id": 5, "name": "road"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 0, "segmentation": tree},
            {"id": 2, "image_id": 7, "category_id": 5, "segmentation": road},
            {"id": 3, "image_id": 7, "category_id": 5, "segmentation": [[0, 0, 4, 0, 4, 2, 0, 2]]},
        ],
    }
    photo(tmp_path / "export/test/a.png")
    (tmp_path / "export/test/_annotations.coco.json").write_text(json.dumps(content))
    dataset, said = imported(tmp_path / "export", tmp_path)
    wanted = in_names("")
    wanted[:2, :4] = "road"
    np.testing.assert_array_equal(labels(dataset)["test", "a"], wanted)
    assert (
        "overlaps    8 pixels in 1 images are in masks of several classes: the smaller mask lies on the larger" in said
    )
    assert dataset.defaults.protocol.split == "test"
    boxes = [{**each, "segmentation": [], "bbox": [0, 0, 4, 2]} for each in content["annotations"]]
    (tmp_path / "export/test/_annotations.coco.json").write_text(json.dumps({**content, "annotations": boxes}))
    with pytest.raises(UserError, match=r"coco\.json: its annotations are boxes without a segmentation"):
        imported(tmp_path / "export", tmp_path / "again")
    content["annotations"][0]["category_id"] = 9
    (tmp_path / "export/test/_annotations.coco.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"_annotations\.coco\.json: annotation 1 has category 9, which is not listed"):
        imported(tmp_path / "export", tmp_path / "again")


def brushes(folder, tree_task=3):
    """What Label Studio exports: masks, several of a class, and of an earlier annotation."""
    tree, road = tree_and_road()
    halves = np.arange(WIDTH) < 16
    mask(folder / f"task-{tree_task}-annotation-4-by-1-tag-tree-0.png", 255 * (tree & halves))
    mask(folder / f"task-{tree_task}-annotation-4-by-1-tag-tree-1.png", 255 * (tree & ~halves))
    mask(folder / f"task-{tree_task}-annotation-4-by-1-tag-dirt-road-0.png", 255 * road)
    mask(folder / f"task-{tree_task}-annotation-2-by-1-tag-tree-0.png", 255 * road)


def test_label_studios_masks_are_those_of_the_image_that_its_json_says(tmp_path):
    folder = tmp_path / "ls"
    brushes(folder)
    photo(folder / "images/leaf one.png")
    with pytest.raises(UserError, match="Export the project as JSON, too"):
        imported(folder, tmp_path)
    tasks = [
        {
            "id": 3,
            "data": {"image": "/data/upload/1/0a1b2c3d-leaf%20one.png"},
            "annotations": [{"id": 4, "result": []}],
        },
        {"id": 9, "data": {"image": "/data/upload/1/0a1b2c3d-leaf%20two.png"}, "annotations": []},
    ]
    (folder / "project.json").write_text(json.dumps(tasks))
    dataset, said = imported(folder, tmp_path)
    found = labels(dataset)["val", "leaf one"]
    np.testing.assert_array_equal(found == "tree", tree_and_road()[0])
    np.testing.assert_array_equal(found == "dirt-road", tree_and_road()[1])
    assert "1 masks of earlier annotations are left out" in said and "1 tasks without a mask are left out" in said
    (folder / "project.json").write_text(json.dumps([{**tasks[0], "id": 8}]))
    with pytest.raises(UserError, match=r"tag-.*-\d\.png: the JSON export beside it has no task 3"):
        imported(folder, tmp_path / "again")
    (folder / "project.json").write_text(json.dumps([{"id": 3, "image": "s3://bucket/other.png"}]))
    with pytest.raises(UserError, match=r"project\.json names the image 'other\.png', which is not there"):
        imported(folder, tmp_path / "again")


def region(kind, image="image", **value):
    return {"from_name": "tag", "to_name": image, "type": kind, "value": {kind: ["tree"], **value}}


BRUSH = region("brushlabels", rle=[])


def label_studio(folder, *data, regions=(BRUSH,)):
    """An export with a task of each of `data`, from 1; in each the tree and the `regions`."""
    tasks = [
        {
            "id": task,
            "data": each,
            "annotations": [{"id": 4, "result": list(regions), "prediction": {"result": regions}}],
        }
        for task, each in enumerate(data, 1)
    ]
    for task in range(1, len(tasks) + 1):
        mask(folder / f"task-{task}-annotation-4-by-1-tag-tree-0.png", 255 * tree_and_road()[0])
    (folder / "project.json").write_text(json.dumps(tasks))


@pytest.mark.parametrize("names", [("a.png", "a.png"), ("0a1b2c3d-a.png", "1a1b2c3d-a.png")], ids=["again", "uploads"])
def test_an_image_of_two_tasks_in_label_studio_is_refused(tmp_path, names):
    photo(tmp_path / "ls/a.png")
    label_studio(tmp_path / "ls", *({"image": name} for name in names))
    with pytest.raises(
        UserError, match=r"project\.json: tasks 1 and 2 are both of the image .*a\.png: leave one of them"
    ):
        imported(tmp_path / "ls", tmp_path)


def test_what_label_studio_exports_no_mask_of_is_counted(tmp_path):
    photo(tmp_path / "ls/a.png")
    shapes = [region("polygonlabels", points=[]), region("rectanglelabels", x=1), region("polygonlabels", points=[])]
    label_studio(tmp_path / "ls", {"image": "a.png"}, regions=[BRUSH, *shapes])
    _, said = imported(tmp_path / "ls", tmp_path)
    assert "annotations that are in no mask are left out: 2 polygonlabels, 1 rectanglelabels" in said


def test_of_several_images_of_a_task_in_label_studio_the_one_that_is_drawn_on_counts(tmp_path):
    for turn, name in enumerate(("depth", "photo")):
        photo(tmp_path / f"ls/{name}.png", turn)
    data = {"depth": "depth.png", "image": "photo.png"}
    label_studio(tmp_path / "ls", data, regions=[BRUSH, region("polygonlabels", "depth")])
    assert list(labels(imported(tmp_path / "ls", tmp_path)[0])) == [("val", "photo")]
    label_studio(tmp_path / "ls", data, regions=[region("brushlabels", "img", rle=[])])
    with pytest.raises(
        UserError, match=r"project\.json: task 1 has several images, depth, image, and its masks may be"
    ):
        imported(tmp_path / "ls", tmp_path / "again")


@pytest.mark.parametrize("kind", ["BRUSH_TO_PNG", "BRUSH_TO_COCO"])
def test_what_label_studio_itself_exports_is_read(tmp_path, kind):
    converter = pytest.importorskip("label_studio_sdk.converter", reason="Label Studio writes these: label-studio-sdk")
    regions = [
        {
            "from_name": "tag",
            "to_name": "image",
            "type": "brushlabels",
            "original_width": WIDTH,
            "original_height": HEIGHT,
            "value": {"rle": converter.brush.mask2rle(255 * drawn.astype(np.uint8)), "brushlabels": [name]},
        }
        for name, drawn in zip(("tree", "dirt/road"), tree_and_road(), strict=True)
    ]
    task = {"id": 3, "data": {"image": "/data/upload/1/0a1b2c3d-leaf%20one.png"}}
    task["annotations"] = [{"id": 4, "completed_by": {"id": 1, "email": "a-b@c.org"}, "result": regions}]
    folder = tmp_path / "ls"
    photo(folder / "images/leaf one.png")
    (folder / "project.json").write_text(json.dumps([task]))
    config = (
        '<View><Image name="image" value="$image"/><BrushLabels name="tag" toName="image"><Label value="tree"/>'
        '<Label value="dirt/road"/></BrushLabels></View>'
    )
    converter.Converter(config, project_dir=None).convert(str(folder / "project.json"), str(folder), kind, is_dir=False)
    dataset, said = imported(folder, tmp_path)
    (found,) = labels(dataset).values()
    tree, road = tree_and_road()
    wanted = np.where(tree, "tree", np.where(road, "dirt/road", ""))
    if kind == "BRUSH_TO_COCO":  # outlines through the outermost pixels, which belong to no region then
        assert "found       COCO" in said
        found, wanted = found[[*range(1, 11), *range(13, 23)], 1:19], wanted[[*range(1, 11), *range(13, 23)], 1:19]
    np.testing.assert_array_equal(found, wanted)


def roboflow(folder):
    for split in ("train", "valid"):
        photo(folder / split / "a_jpg.rf.0f.jpg")
        mask(folder / split / "a_jpg.rf.0f_mask.png", expected(2) + 1 - 3 * (expected(2) == 2))
        (folder / split / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, tree\n2, road\n")
    return [("train", "a_jpg.rf.0f"), ("val", "a_jpg.rf.0f")], "background"


def hasty(folder):
    """As docs.cloudfactory.com/export-formats/semantic-segmentation-png-images has it, with the images put beside."""
    listed = [
        {"png_index": 3, "class_name": "tree", "color": "#4df3ce", "class_type": "object"},
        {"png_index": 1, "class_name": "road", "color": "#4c4ffc", "class_type": "background"},
        {"png_index": None, "class_name": "tag", "color": "#4c4f00", "class_type": "object"},
    ]
    for batch in ("first batch", "second batch"):
        photo(folder / f"images/{batch}/a.png")
        mask(folder / batch / "a.png", np.array([3, 1, 0])[expected(2)])
    (folder / "label_classes.json").write_text(json.dumps(listed))
    return [("val", "first batch/a"), ("val", "second batch/a")], ""


def labelme2voc(folder):
    photo(folder / "JPEGImages/a.jpg")
    drawn = Image.fromarray(np.array([1, 2, 0], np.uint8)[expected(2)])
    drawn.putpalette([channel for value in range(256) for channel in (value, 255 - value, value)])
    (folder / "SegmentationClass").mkdir()
    drawn.save(folder / "SegmentationClass/a.png")
    for kind in (
        "SegmentationClassVisualization/a.jpg",
        "SegmentationObject/a.png",
        "SegmentationObjectVisualization/a.jpg",
    ):
        mask(folder / kind, expected(2))
    (folder / "class_names.txt").write_text("_background_\ntree\nroad\n")
    return [("val", "a")], "background"


def coloured(folder):
    photo(folder / "train2017_images/sub/a.jpg")
    mask(folder / "masks/sub/a.png", expected(2), (TREE, ROAD, (0, 0, 0)))
    (folder / "class_dict.csv").write_text("name,r,g,b\ntree,10,200,30\nroad,250,10,10\n")
    return [("train", "sub/a")], ""


def cityscapes(folder):
    photo(folder / "leftImg8bit/val/bonn/bonn_1_leftImg8bit.png")
    mask(folder / "gtFine/val/bonn/bonn_1_gtFine_labelIds.png", np.array([21, 7, 4])[expected(2)])
    mask(folder / "gtFine/val/bonn/bonn_1_gtFine_color.png", expected(2))
    return [("val", "bonn/bonn_1")], ""


@pytest.mark.parametrize(
    "write", [roboflow, hasty, labelme2voc, coloured, cityscapes], ids=lambda write: write.__name__
)
def test_masks_with_a_list_of_what_they_mean_are_read_by_it(tmp_path, write):
    keys, rest = write(tmp_path / "export")
    dataset, said = imported(tmp_path / "export", tmp_path)
    found = labels(dataset)
    assert sorted(found) == keys
    for each in found.values():
        wanted = in_names(rest)
        if write is cityscapes:
            wanted = np.where(wanted == "tree", "vegetation", wanted)
        np.testing.assert_array_equal(each, wanted)
    assert dataset.background == (rest or None)
    assert write is not cityscapes or (len(dataset.classes) == 19 and "ignored     unlabeled, ego vehicle" in said)


def test_plain_folders_need_names_which_may_be_given(tmp_path):
    photo(tmp_path / "leaves/images/a.jpg")
    path = mask(tmp_path / "leaves/masks/a.png", expected(255))
    with pytest.raises(UserError, match=r'nothing says what the masks\' values mean\. Give --classes "soil, grass'):
        imported(tmp_path / "leaves", tmp_path)
    dataset, _ = imported(tmp_path / "leaves", tmp_path, classes=("tree", "road"), background="ground")
    assert dataset.classes == ("tree", "road", "ground") and dataset.background == "ground"
    np.testing.assert_array_equal(dataset.read("val", "a").label, expected(2))
    mask(path, expected(2))
    with pytest.raises(UserError, match=r"masks.a\.png: label value 2 is none of the expected .* those of --classes"):
        imported(tmp_path / "leaves", tmp_path / "again", classes=("tree", "road"))
    mask(path, expected(2), (TREE, ROAD, (0, 0, 0)))
    with pytest.raises(
        UserError, match=r"a\.png: a mask in colours, and no file says what they mean. Put a class_dict"
    ):
        imported(tmp_path / "leaves", tmp_path / "again", classes=("tree", "road"))
    mask(path, np.zeros((3, 3)))
    with pytest.raises(UserError, match="the mask of a: the mask is 3x3 pixels"):
        imported(tmp_path / "leaves", tmp_path / "again", classes=("tree", "road"))
    (tmp_path / "leaves/images/a.jpg").unlink()
    with pytest.raises(UserError, match=r"masks.a\.png: its image is missing: expected one called a"):
        imported(tmp_path / "leaves", tmp_path / "again", classes=("tree", "road"))


def test_black_and_white_masks_are_two_classes_where_all_are(tmp_path):
    tree = tree_and_road()[0]
    for name in "ab":
        photo(tmp_path / f"x/{name}.jpg")
        mask(tmp_path / f"x/{name}_mask.png", 255 * tree)
    dataset, _ = imported(tmp_path / "x", tmp_path, classes=("background", "polyp"))
    np.testing.assert_array_equal(dataset.read("val", "a").label, tree.astype(int))
    mask(tmp_path / "x/b_mask.png", tree)  # values, and then 255 is none
    dataset, _ = imported(tmp_path / "x", tmp_path / "again", classes=("ground", "polyp"))
    np.testing.assert_array_equal(dataset.read("val", "a").label, np.where(tree, IGNORE, 0))
    np.testing.assert_array_equal(dataset.read("val", "b").label, tree.astype(int))


@pytest.mark.parametrize("colours", [((255, 255, 255), (0, 0, 0)), ((0, 0, 0), (255, 255, 255)), ((9, 9, 9), TREE)])
def test_indices_of_a_palette_are_values_however_they_are_coloured(tmp_path, colours):
    tree = tree_and_road()[0]
    photo(tmp_path / "x/a.jpg")
    indexed = Image.fromarray(tree.astype(np.uint8), "P")
    indexed.putpalette(sum(colours, ()))
    indexed.save(tmp_path / "x/a_mask.png")
    dataset, _ = imported(tmp_path / "x", tmp_path, classes=("ground", "tree"))
    np.testing.assert_array_equal(dataset.read("val", "a").label, tree.astype(int))


def test_white_is_said_to_be_the_second_class_and_never_is_where_255_is_ignored(tmp_path):
    tree = tree_and_road()[0]
    photo(tmp_path / "x/a.jpg")
    mask(tmp_path / "x/a_mask.png", 255 * tree)
    (tmp_path / "x/class_names.txt").write_text("_background_\ntree\n")
    dataset, said = imported(tmp_path / "x", tmp_path)
    np.testing.assert_array_equal(dataset.read("val", "a").label, tree.astype(int))
    assert "masks in black and white: white is tree, black _background_" in said
    (tmp_path / "x/class_names.txt").write_text("__ignore__\n_background_\ntree\n")
    dataset, said = imported(tmp_path / "x", tmp_path / "again")
    np.testing.assert_array_equal(dataset.read("val", "a").label, np.where(tree, IGNORE, 0))
    assert "ignored     255 in masks: 50.0 % of the pixels" in said


def test_images_that_viewers_turn_are_told(tmp_path):
    noise = Image.fromarray(np.zeros((24, 24, 3), np.uint8))
    exif = noise.getexif()
    exif[0x0112] = 6
    (tmp_path / "x").mkdir()
    noise.save(tmp_path / "x/a.jpg", exif=exif)
    mask(tmp_path / "x/a_mask.png", np.eye(24))
    _, said = imported(tmp_path / "x", tmp_path, classes=("tree", "road"))
    assert "turned      1 images have an EXIF orientation, by which viewers turn them" in said


def coco(path, *names):
    """An annotation file of images with these names, each with a tree above."""
    images = [{"id": n, "file_name": name, "height": HEIGHT, "width": WIDTH} for n, name in enumerate(names)]
    region = [[0, 0, WIDTH, 0, WIDTH, 12, 0, 12]]
    content = {
        "images": images,
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "segmentation": region} for n in range(len(names))],
        "categories": [{"id": 1, "name": "tree"}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_an_image_of_a_name_that_two_splits_have_is_the_one_beside_its_annotations(tmp_path):
    for turn, split in enumerate(("train", "valid")):
        photo(tmp_path / f"x/{split}/a.jpg", turn)
        coco(tmp_path / f"x/{split}/_annotations.coco.json", "a.jpg")
    dataset, said = imported(tmp_path / "x", tmp_path)
    assert "COCO: 2 images (1 train, 1 val)" in said
    for split, folder in (("train", "train"), ("val", "valid")):
        stored = np.asarray(Image.open(tmp_path / f"x/{folder}/a.jpg"))
        np.testing.assert_array_equal(dataset.read(split, "a").image, stored)


def test_an_image_of_another_split_is_never_taken_for_a_missing_one(tmp_path):
    for split in ("train", "valid"):
        coco(tmp_path / f"x/{split}/_annotations.coco.json", "a.jpg")
    photo(tmp_path / "x/train/a.jpg")
    with pytest.raises(
        UserError, match=r"names the image 'a.jpg', which is not there \(.*train.a\.jpg is of another split"
    ):
        imported(tmp_path / "x", tmp_path)


def test_annotations_of_no_split_name_images_of_any(tmp_path):
    coco(tmp_path / "x/labels.json", "a.jpg")
    photo(tmp_path / "x/train2017/a.jpg")
    assert list(labels(imported(tmp_path / "x", tmp_path)[0])) == [("val", "a")]


def test_names_that_lead_to_one_image_are_refused(tmp_path):
    coco(tmp_path / "x/labels.json", "clip1/a.jpg", "clip2/a.jpg")
    photo(tmp_path / "x/images/clip2/a.jpg")
    with pytest.raises(UserError, match=r"'clip1/a.jpg' and 'clip2/a.jpg', of which only .*clip2.a\.jpg is there"):
        imported(tmp_path / "x", tmp_path)


def test_images_with_one_number_are_refused(tmp_path):
    coco(tmp_path / "x/labels.json", "a.jpg", "b.jpg")
    for turn, name in enumerate("ab"):
        photo(tmp_path / f"x/{name}.jpg", turn)
    content = json.loads((tmp_path / "x/labels.json").read_text())
    content["images"][1]["id"] = 0
    (tmp_path / "x/labels.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"labels\.json: two of its images have the id 0"):
        imported(tmp_path / "x", tmp_path)


@pytest.mark.parametrize("above", ["none", "things"])
def test_category_0_is_left_out_where_it_is_a_name_for_all(tmp_path, above):
    """Roboflow's; a class that these images happen not to show stays."""
    coco(tmp_path / "x/labels.json", "a.jpg")
    photo(tmp_path / "x/a.jpg")
    content = json.loads((tmp_path / "x/labels.json").read_text())
    content["categories"] = [{"id": 0, "name": "things"}, {"id": 1, "name": "tree", "supercategory": above}]
    (tmp_path / "x/labels.json").write_text(json.dumps(content))
    dataset, _ = imported(tmp_path / "x", tmp_path)
    assert dataset.classes == (("tree",) if above == "things" else ("things", "tree"))


def test_stuff_lies_below_things_and_boxes_are_told(tmp_path):
    """COCO's class `other` of stuff covers all things, with the same region."""
    photo(tmp_path / "x/a.jpg")
    for name, number in (("instances_val", 1), ("stuff_val", 2)):
        coco(tmp_path / f"x/{name}.json", "a.jpg")
        content = json.loads((tmp_path / f"x/{name}.json").read_text())
        content["categories"] = [{"id": number, "name": {1: "tree", 2: "other"}[number]}]
        content["annotations"][0]["category_id"] = number
        content["annotations"].append({"id": 9, "image_id": 0, "category_id": number, "bbox": [0, 20, 4, 4]})
        (tmp_path / f"x/{name}.json").write_text(json.dumps(content))
    dataset, said = imported(tmp_path / "x", tmp_path)
    assert "annotations without a region (boxes or keypoints alone), drawn nowhere: 2" in said
    assert set(labels(dataset)["val", "a"][:12].ravel()) == {"tree"}


@pytest.mark.parametrize(
    ("image", "label"),
    [("images/clip1/a", "masks/clip2/a"), ("train/images/a", "val/masks/a")],
    ids=["videos", "splits"],
)
def test_a_mask_of_another_video_or_split_is_no_mask_of_an_image(tmp_path, image, label):
    photo(tmp_path / f"x/{image}.jpg")
    mask(tmp_path / f"x/{label}.png", expected(255))
    with pytest.raises(UserError, match="its image is missing"):
        imported(tmp_path / "x", tmp_path, classes=("tree", "road"))


def test_folders_may_say_in_their_names_what_they_hold(tmp_path):
    photo(tmp_path / "x/images/clip1_images/a.jpg")
    mask(tmp_path / "x/masks/clip1_masks/a.png", expected(255))
    assert len(imported(tmp_path / "x", tmp_path, classes=("tree", "road"))[0].ids("val")) == 1


def test_masks_in_folders_of_any_name_are_known_by_their_channel(tmp_path):
    photo(tmp_path / "x/first batch/a.jpg")
    mask(tmp_path / "x/export of monday/a.png", expected(255))
    dataset, _ = imported(tmp_path / "x", tmp_path, classes=("tree", "road"))
    np.testing.assert_array_equal(labels(dataset)["val", "first batch/a"], in_names(""))


def test_what_masks_exclude_is_not_the_background(tmp_path):
    """labelme's `__ignore__` is 255."""
    labelme2voc(tmp_path / "x")
    excluded = np.array([1, 2, 0])[expected(2)]
    excluded[:, :3] = 255
    mask(tmp_path / "x/SegmentationClass/a.png", excluded)
    dataset, said = imported(tmp_path / "x", tmp_path)
    wanted = in_names("background")
    wanted[:, :3] = ""
    np.testing.assert_array_equal(labels(dataset)["val", "a"], wanted)
    assert "ignored     255 in masks: 9.4 % of the pixels" in said


def test_names_decide_what_is_ignored_unless_the_user_does(tmp_path):
    hasty(tmp_path / "x")
    dataset, said = imported(tmp_path / "x", tmp_path, ignored=("road",))
    assert dataset.classes == ("tree",) and "ignored     road, pixels without annotation: 50.0 %" in said
    assert (dataset.read("val", "first batch/a").label == np.where(tree_and_road()[0], 0, IGNORE)).all()
    for wishes, told in (
        ({"ignored": ("rod",)}, "--ignored 'rod': it is none of tree, road. Did you mean 'road'"),
        ({"unseen": ("tre",)}, "--unseen 'tre': .* Did you mean 'tree'"),
    ):
        with pytest.raises(UserError, match=told):
            imported(tmp_path / "x", tmp_path / "again", **wishes)


def test_what_cannot_be_imported_is_said_before_anything_is_written(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("no archive")
    (tmp_path / "taken.toml").touch()
    out = tmp_path / "mine.toml"
    for source, card, told in (
        ("absent", out, "no such folder or archive. From the Hugging Face Hub it is hf:OWNER/NAME"),
        ("empty", out, "no images with masks in a known layout; it holds nothing. Known: CVAT"),
        ("text.zip", out, "neither a zip nor a tar archive"),
        ("empty", tmp_path / "taken.toml", "is there already: give another --out"),
        ("empty", tmp_path / "mine.json", "expected the name of a card, such as mine.toml"),
    ):
        with pytest.raises(UserError, match=told):
            import_data(str(tmp_path / source), Path(card), Wishes())
    with pytest.raises(UserError, match="expected hf:OWNER/NAME"):
        import_data("hf:NAME", out, Wishes())
    with zipfile.ZipFile(tmp_path / "slip.zip", "w") as packed:
        packed.writestr("../out.png", b"x")
    with pytest.raises(UserError, match="would be written outside"):
        import_data(str(tmp_path / "slip.zip"), out, Wishes())
    assert not out.exists() and not out.with_suffix("").exists()


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"unseen": ("tree", "tree")}, "--unseen names 'tree' twice"),
        ({"background": "tree", "ignored": ("tree",)}, "--background and --ignored say both 'tree'"),
    ],
)
def test_wishes_that_contradict_each_other_are_refused(tmp_path, wishes, said):
    roboflow(tmp_path / "export")
    with pytest.raises(UserError, match=said):
        imported(tmp_path / "export", tmp_path, **wishes)


def test_an_empty_line_in_a_list_of_classes_is_no_silence(tmp_path):
    """Names are counted by line: the later ones would move up by one."""
    labelme2voc(tmp_path / "export")
    (tmp_path / "export/class_names.txt").write_text("_background_\n\nroad\n\n")
    with pytest.raises(UserError, match=r"class_names\.txt: line 2 is empty, and names are counted by line"):
        imported(tmp_path / "export", tmp_path)
