"""Volumes, as NIfTI and DICOM files hold them, on the axes of the body."""
