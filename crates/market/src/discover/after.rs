use uuid::Uuid;

/// The place in an order after which a page begins.
pub(super) enum After {
    /// What the rows are ordered by, and the id.
    Row(i64, Uuid),
    /// The slice, when the content came in microseconds, and the id.
    Fresh { slice: i32, at: i64, id: Uuid },
    /// In the window of the slices below one until another: the rank and the id.
    Ranked { below: i32, until: i32, rank: i64, id: Uuid },
    /// The window of the slices below this.
    Window(i32),
}

impl After {
    pub(super) fn read(cursor: &str) -> Option<Self> {
        let parts: Vec<_> = cursor.split('_').collect();
        Some(match &parts[..] {
            [below] => Self::Window(below.parse().ok()?),
            [key, id] => Self::Row(key.parse().ok()?, id.parse().ok()?),
            [slice, at, id] => Self::Fresh { slice: slice.parse().ok()?, at: at.parse().ok()?, id: id.parse().ok()? },
            [below, until, rank, id] => {
                let (below, until): (i32, i32) = (below.parse().ok()?, until.parse().ok()?);
                if until < 0 || until >= below {
                    return None;
                }
                Self::Ranked { below, until, rank: rank.parse().ok()?, id: id.parse().ok()? }
            }
            _ => return None,
        })
    }

    pub(super) fn write(&self) -> String {
        match self {
            Self::Row(key, id) => format!("{key}_{id}"),
            Self::Fresh { slice, at, id } => format!("{slice}_{at}_{id}"),
            Self::Ranked { below, until, rank, id } => format!("{below}_{until}_{rank}_{id}"),
            Self::Window(below) => below.to_string(),
        }
    }
}
