-- Users whose accounts were deleted: nobody becomes their friend any more.
CREATE TABLE gone_users (
    user_id uuid PRIMARY KEY
);
