//! Stage 4, what is safe: follows what is settled of each tail and stores how far its
//! contiguous prefix reaches.
