"""Images beside labels: told by folders and names of the data sets that are around; labels stay."""

import pytest

from data_processing.medical.images_beside import images_beside, is_general


@pytest.mark.parametrize(
    ("labels", "images"),
    [
        (["labelsTr/a.nii.gz"], ["imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "imagesTs/b_0000.nii.gz"]),
        (["Task04/labelsTr/h_001.nii.gz"], ["Task04/imagesTr/h_001.nii.gz", "Task04/imagesTs/h_002.nii.gz"]),
        (["s1/segmentations/liver.nii.gz", "s1/segmentations/colon.nii.gz"], ["s1/ct.nii.gz"]),
        (["s1/liver.nii.gz"], ["s1/mri.nii.gz"]),
        (
            ["derivatives/sub-1/anat/sub-1_dseg.nii.gz", "sub-1/sub-1_label-liver_mask.nii.gz"],
            ["sub-1/anat/sub-1_T1w.nii.gz", "sub-1/anat/sub-1_acq-x_FLAIR.nii.gz"],
        ),
        (["B_001/B_001_seg.nii.gz"], ["B_001/B_001_t1ce.nii.gz", "B_001/B_001_flair.nii.gz"]),
        (["case_0/segmentation.nii.gz"], ["case_0/imaging.nii.gz"]),
        (["p1/p1_frame01_gt.nii.gz", "v-label.nrrd"], ["p1/p1_frame01.nii.gz", "v.nrrd"]),
        (["flat/a.nii.gz", "flat/b_0001.nii.gz"], ["flat/a_0000.nii.gz"]),
    ],
)
def test_images_are_told_from_labels(labels, images):
    assert images_beside([*images, *labels, "dataset.json"]) == images


@pytest.mark.parametrize(
    "files",
    [
        ["patient_0001.nii.gz", "patient_0002.nii.gz"],
        ["ct.nii.gz"],
        ["imagesTr/a_0000.nii.gz"],  # all there is
        ["kidney/one.nii.gz", "kidney/two.nii.gz"],
        ["donor_1_dk.nii.gz", "donor_2_dk.nii.gz"],
        ["a_seg.nii.gz", "b_seg.nii.gz"],
    ],
)
def test_labels_alone_stay(files):
    assert images_beside(files) == []


def test_in_a_folder_of_organs_ct_is_one_more_file_without_a_model():
    files = ["s1/ct.nii.gz", "s1/liver.nii.gz"]
    assert images_beside(files) == files[:1] and images_beside(files, organs=True) == []
    assert images_beside(["s1/ct.nii.gz", "s1/segmentations/liver.nii.gz"], organs=True) == files[:1]


def test_a_pattern_of_the_users_own_is_the_last_word():
    assert is_general("*") and is_general("*.nii.gz") and is_general("**/*.nii*")
    assert not is_general("*_seg.nii.gz") and not is_general("imagesTr/*")
