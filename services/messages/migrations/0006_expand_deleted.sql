-- Messages that were deleted: those among them that were not seen are not unread.
CREATE INDEX log_deleted ON log (friendship_id, seq) WHERE deleted AND kind = 0;
