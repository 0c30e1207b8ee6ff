"""What published weights were trained on, and in which order their outputs stand.

Where a data set here has the same labels, no output has to be moved: every order below is that of our labels.
"""

from __future__ import annotations

from paddle_hrfamily.registry import DataSet

IMAGENET = DataSet("ImageNet-1k", 1000, "the 1000 classes of ILSVRC 2012, sorted by WordNet id")
CITYSCAPES = DataSet("Cityscapes", 19, "trainId 0 to 18 of the official scripts, as the labels here")
CITYSCAPES_TRAINVAL = DataSet("Cityscapes train + val", 19, CITYSCAPES.order)
# lib/datasets/lip.py takes the values of the label files as they are.
LIP = DataSet("LIP", 20, "the values 0 to 19 of the label files, as the labels here")
# lib/datasets/pascal_ctx.py (branch master) sorts 60 of the 459 ids and takes 1 off; PaddleSeg's convert_voc2010.py
# sorts the same 60.
PASCAL_CONTEXT = DataSet("PASCAL-Context, 59 classes", 59, "by the ids of the 459 classes, as the labels here")
PASCAL_CONTEXT_60 = DataSet(
    "PASCAL-Context, 60 classes", 60, "background, then the 59 by their ids, as the labels here"
)
# lib/datasets/cocostuff.py leaves out 12, 26, 29, 30, 45, 66, 68, 69, 71, 83 and 91, and takes 1 off.
COCO_STUFF = DataSet("COCO-Stuff 10k", 171, "by COCO-Stuff's ids without the 11 that do not occur, as the labels here")
# lib/datasets/ade20k.py takes 1 off, and so does PaddleSeg's ADE20K.
ADE20K = DataSet("ADE20K", 150, "by objectInfo150's numbers less 1, as the labels here")
PASCAL_VOC = DataSet("PASCAL VOC 2012 + Aug", 21, "the values 0 to 20 of the label files, as the labels here")
LOVEDA = DataSet("LoveDA", 7, "by the data set's numbers less 1; no data set here has these labels")
POTSDAM = DataSet("Potsdam", 6, "impervious surface, building, low vegetation, tree, car, clutter; no data set here")
VAIHINGEN = DataSet("Vaihingen", 6, POTSDAM.order)
ISAID = DataSet("iSAID", 16, "background, then the data set's 15 classes; no data set here has these labels")
