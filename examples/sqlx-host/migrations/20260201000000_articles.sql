-- A table of the application. Its author is an account of portcullis.
CREATE TABLE article (
    id uuid NOT NULL PRIMARY KEY,
    author_id uuid NOT NULL REFERENCES auth_account (id) ON DELETE CASCADE,
    title text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX article_author_id ON article (author_id);

-- What the application knows about a person, beside the account.
CREATE TABLE author (
    account_id uuid NOT NULL PRIMARY KEY REFERENCES auth_account (id) ON DELETE CASCADE,
    pen_name text NOT NULL UNIQUE,
    joined_at timestamptz NOT NULL DEFAULT now()
);
